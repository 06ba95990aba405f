"""No patient data in logs: what libraries say of a file is kept out of them.

pydicom, pynetdicom and highdicom quote values of elements in their warnings and errors (``Invalid value for VR DS:
'Miller^…'``). Their messages are therefore replaced by the name of the place that wrote them.
"""

from __future__ import annotations

import logging
import threading
import warnings
from typing import Final

from pydicom import config

#: Libraries whose messages may quote what is in a file or in a message of a sender.
_LIBRARIES: Final = ("pydicom", "pynetdicom", "highdicom")
_log = logging.getLogger(__name__)
_lock = threading.Lock()


class _WithoutValues(logging.Handler):
    """Says that a library complained, and where; neither its text nor its traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        """Replace the record."""
        kind = "" if record.exc_info is None or record.exc_info[0] is None else f" ({record.exc_info[0].__name__})"
        logging.getLogger(f"node.from.{record.name}").log(
            min(record.levelno, logging.WARNING), "%s, line %d%s", record.module, record.lineno, kind
        )


def keep_values_out_of_logs() -> None:
    """Route the messages and warnings of the libraries away, for the whole process; may be called again."""
    with _lock:
        for name in _LIBRARIES:
            library = logging.getLogger(name)
            library.propagate = False
            library.setLevel(logging.ERROR)
            if not any(isinstance(handler, _WithoutValues) for handler in library.handlers):
                library.handlers = [_WithoutValues()]
        for module in _LIBRARIES:
            warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
        warnings.showwarning = _say_place
        # whoever reads a value decides what to do with one that is wrong
        config.settings.reading_validation_mode = config.IGNORE


def _say_place(
    message: Warning | str,  # noqa: ARG001 - it may quote a value
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,  # noqa: ARG001 - the signature is Python's
    line: str | None = None,  # noqa: ARG001
) -> None:
    _log.debug("%s in %s, line %d", category.__name__, filename, lineno)
