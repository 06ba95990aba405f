"""Damaged input for ``benchmarks.endurance.fuzz``: what a case and a target are, and how bytes are damaged."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hypothesis import strategies as st


@dataclass(frozen=True, slots=True)
class Case:
    """One input.

    Attributes:
        data: the bytes as they come in.
        known: what the target knows about them, such as the true values.
    """

    data: bytes = field(repr=False)
    known: object = field(default=None, repr=False)


#: Gives the node one case; returns what became of it in a word ("read", "refused"). Whatever it raises is a finding.
Check = Callable[[Case], str]


class Target(Protocol):
    """A part of the node that reads what others send."""

    @property
    def examples_per_round(self) -> int:
        """Cases with one seed, and one state of the node."""

    def cases(self) -> st.SearchStrategy[Case]:
        """Whole and damaged input."""

    def open(self, folder: Path) -> AbstractContextManager[Check]:
        """Start what is to be attacked, in an empty folder."""


@dataclass(frozen=True, slots=True)
class _Edit:
    kind: str
    at: float
    n_bytes: int
    put: bytes


def damaged(whole: Sequence[bytes], pieces: Sequence[bytes], most_edits: int = 8) -> st.SearchStrategy[bytes]:
    """Bytes of one of the inputs, with up to so many edits: bits, bytes and parts changed, put in, taken out, doubled, cut.

    Args:
        whole: inputs that are right.
        pieces: what the reader takes for structure; put in as they are.
    """
    put = st.one_of(st.sampled_from(list(pieces)), st.binary(min_size=1, max_size=8))
    kinds = st.sampled_from(["replace", "replace", "replace", "insert", "delete", "double", "flip", "truncate"])
    lengths = st.sampled_from([1, 1, 2, 4, 8, 20, 80, 400])
    edit = st.builds(_Edit, kinds, st.floats(0, 1, exclude_max=True), lengths, put)
    edits = st.lists(edit, max_size=most_edits)
    return st.builds(_edited, st.sampled_from(list(whole)), edits)


def _edited(whole: bytes, edits: Sequence[_Edit]) -> bytes:
    data = bytearray(whole)
    for edit in edits:
        if not data:
            return b""
        at = int(edit.at * len(data))
        end = at + edit.n_bytes
        if edit.kind == "replace":
            data[at : at + len(edit.put)] = edit.put
        elif edit.kind == "insert":
            data[at:at] = edit.put
        elif edit.kind == "delete":
            del data[at:end]
        elif edit.kind == "double":
            data[end:end] = data[at:end]
        elif edit.kind == "flip":
            data[at] ^= 1 << (edit.n_bytes % 8)
        else:
            del data[at:]
    return bytes(data)


def in_parts(data: bytes, cuts: Sequence[float]) -> Iterator[bytes]:
    """The same bytes in several parts, as a network may deliver them."""
    places = sorted({0, len(data), *(int(cut * len(data)) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        yield data[start:end]
