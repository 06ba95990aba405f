"""How the steps of the workflow run, what goes into a run, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from node.model import StudyResult

P = ParamSpec("P")
T = TypeVar("T")


class RunStep(Protocol):
    """Runs a step of the workflow under a name and returns its result."""

    def __call__(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function``."""


def run_directly(_name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The step runner of a run that nobody resumes."""
    return function(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class StudyInput:
    """A study to work on: its files, and the folder where the run keeps what it makes."""

    paths: tuple[Path, ...]
    folder: Path


@dataclass(frozen=True, slots=True)
class Report:
    """The files that a run made; those that do not exist are ``None``.

    Attributes:
        to_send: the DICOM objects, in the order in which they should reach a PACS.
    """

    result: StudyResult
    json_path: Path
    seg_path: Path | None
    sr_path: Path | None
    summary_path: Path | None
    picture_path: Path | None

    @property
    def to_send(self) -> tuple[Path, ...]:
        """SEG first: the SR refers to it."""
        return tuple(path for path in (self.seg_path, self.sr_path, self.summary_path) if path is not None)
