"""The one rule for what happens after an error: retry forever, retry a few times, or end.

* An unavailable or locked database, a full or failing disk, the network and a busy peer recover: someone restarts the
  server, frees space or plugs the cable in. The work is retried forever, at growing intervals.
* Exhausted memory, a process that died and faults of the node itself may or may not happen again. The work is retried
  a few times (:data:`MAX_ATTEMPTS`).
* An error that is marked as permanent never recovers. The work ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from node.common.errors import NodeError
from node.worker.compute import ComputingError

#: Rounds of work that crashes or fails unexpectedly. After these it is given up, and other work continues.
MAX_ATTEMPTS = 3
#: Wait after the first failure; it doubles with each further one, up to the longest.
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 600.0


class Passes(Enum):
    """Whether an error may be gone at the next attempt."""

    YES = "yes"
    PERHAPS = "perhaps"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an error means for the work.

    Attributes:
        passes: whether a later attempt may succeed.
        said: what happened, for people and for the log; holds no patient data.
    """

    passes: Passes
    said: str


def verdict_on(error: BaseException) -> Verdict:
    """Classify an error by its own type, or by the first known type among its causes."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, NodeError):
            return Verdict(Passes.YES if seen.retriable else Passes.NO, str(seen))
        if isinstance(seen, DBAPIError | PoolTimeoutError):
            return Verdict(Passes.YES, f"the database does not answer ({type(getattr(seen, 'orig', seen)).__name__})")
        if isinstance(seen, SQLAlchemyError):
            break
        if isinstance(seen, OSError):
            return Verdict(Passes.YES, f"{type(seen).__name__}: {seen.strerror or seen}")
        if isinstance(seen, MemoryError | ComputingError):
            return Verdict(Passes.PERHAPS, str(seen) or "not enough memory")
        seen = _beneath(seen)
    return Verdict(Passes.PERHAPS, f"{type(error).__name__}: {error}")


def _beneath(error: BaseException) -> BaseException | None:
    """Return the cause of an error. A DBOS step that has used all attempts holds the error of each; take the last."""
    of_attempts: list[Exception] = getattr(error, "errors", [])
    return of_attempts[-1] if of_attempts else error.__cause__ or error.__context__
