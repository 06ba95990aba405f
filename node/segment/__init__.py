"""Segment: a volume becomes labelled vertebral bodies.

``segmenter.segment(volume, progress)`` finds the bodies, outlines them on the volume's own grid and names them; where the
names can't be told, it names none and gives the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from node.errors import ConfigurationError
from node.model import Segmentation, Volume

__all__ = ["Segmenter", "load_segmenter"]


class Segmenter(Protocol):
    """What every segmenter offers.

    Attributes:
        name: as chosen in the settings.
        version: of the method or its weights, for the record.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def segment(self, volume: Volume, progress: Callable[[str], None]) -> Segmentation:
        """Labels the lumbar vertebral bodies of a volume; ``progress`` is told in short lines what is being done."""
        ...


def load_segmenter(choice: str) -> Segmenter:
    """The segmenter of that name, ready to run, without any network access.

    Args:
        choice: ``embedded``.

    Raises:
        ConfigurationError: no such segmenter, or its weights are missing.
    """
    if choice == "embedded":
        # Loads torch: a process that never segments should not wait for it.
        from node.segment.embedded import EmbeddedSegmenter

        return EmbeddedSegmenter()
    raise ConfigurationError(f"There is no segmenter {choice!r}; available: embedded.")
