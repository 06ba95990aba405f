"""The agreed header of the measured series, read from its files."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from node.clinical.agreed_header import AGREED, KEYWORDS, agreed_header
from node.model import Candidate
from node.select import values_judged_here


def agreed_header_of(candidate: Candidate) -> Dataset:
    """Patient, study and order of a series, as its images agree on them."""
    return _of_files(tuple(dict.fromkeys(frame.path for frame in candidate.frames)))


def with_agreed_header(sources: Sequence[Dataset]) -> Sequence[Dataset]:
    """The headers of a series, of which the first states what all agree on: objects take patient and study from it."""
    with values_judged_here():
        agreed, first = agreed_header(sources), sources[0]
        if agreed is first:
            return sources
        for keyword in AGREED:
            if keyword in agreed:
                first[keyword] = agreed[keyword]
            elif keyword in first:
                del first[keyword]
    return sources


# the stages of one study ask for it several times; received files are named after their content
@functools.lru_cache(maxsize=4)
def _of_files(paths: tuple[Path, ...]) -> Dataset:
    with values_judged_here():
        wanted = [*KEYWORDS, "SpecificCharacterSet"]
        return agreed_header([pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted) for path in paths])
