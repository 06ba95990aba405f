"""The one rule of what happens after an error: what may pass is tried again, what cannot pass ends.

A database that is away or locked, a disk that is full or fails, a network, another side that is busy: these pass. Somebody
restarts the server, removes files, plugs the cable in. So they are tried for ever, at growing intervals. Memory that ran
out, a process that died and faults of the node itself may pass, or happen with every attempt: they are tried a few times.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from node.common.errors import NodeError
from node.worker.compute import ComputingError

#: Rounds of a study that dies or fails in a way that nobody expected; then it is given up, and the next one goes on.
MAX_ATTEMPTS = 3
_FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 600.0


class Passes(Enum):
    """Whether an error may be gone when the same is tried again."""

    YES = "yes"
    PERHAPS = "perhaps"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an error means.

    Attributes:
        passes: whether the same may go through later.
        said: what happened, for a person and for the log: without patient data.
    """

    passes: Passes
    said: str


def verdict_on(error: BaseException) -> Verdict:
    """What an error means."""
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
    """What an error came of; a step of DBOS whose attempts are over keeps the error of each of them."""
    of_attempts: list[Exception] = getattr(error, "errors", [])
    return of_attempts[-1] if of_attempts else error.__cause__ or error.__context__


def wait_s(n_failures: int, first_s: float = _FIRST_WAIT_S, longest_s: float = LONGEST_WAIT_S) -> float:
    """How long to wait after so many failures in a row: doubles each time."""
    return float(min(first_s * 2.0 ** min(max(n_failures, 1) - 1, 30), longest_s))
