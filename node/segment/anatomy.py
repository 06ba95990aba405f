"""States the anatomy that was counted: rib pairs, and vertebrae without ribs above the sacrum."""

from __future__ import annotations

from dataclasses import dataclass

from node.language.phrase import Phrase, joined, phrase
from node.segment.pairs import USUAL_PAIRS

#: Vertebrae without ribs between the last rib pair and the sacrum in nine of ten people.
USUAL_LUMBAR = 5
#: Other numbers are no anatomy, but a count that went wrong.
PLAUSIBLE_LUMBAR = (4, 5, 6)

#: A level is labelled although the anatomy is unusual, by the convention of the site.
VARIANT = "anatomical_variant"


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What was counted.

    Attributes:
        pairs: rib pairs from the first ribs downward; ``None`` if they could not be counted.
        lumbar: vertebrae without ribs between the last ribs and the sacrum; ``None`` if they could not be counted.
    """

    pairs: int | None
    lumbar: int | None

    @property
    def usual(self) -> bool:
        """Whether nothing that was counted is unusual."""
        return self.pairs in (None, USUAL_PAIRS) and self.lumbar in (None, USUAL_LUMBAR)

    @property
    def said(self) -> Phrase:
        """The anatomy in words, and what it means for the names."""
        if self.pairs == USUAL_PAIRS or self.pairs is None:
            return self._said_of_lumbar()
        few = phrase("eleven rib pairs: L1 may be T12")
        pairs = few if self.pairs < USUAL_PAIRS else phrase("thirteen rib pairs: the last may be at L1")
        if self.lumbar is None:
            return pairs
        return joined((pairs, _lumbar_type(self.lumbar)), "; ")

    def _said_of_lumbar(self) -> Phrase:
        if self.lumbar == USUAL_LUMBAR + 1:
            if self.pairs:
                return phrase("twelve rib pairs and six lumbar-type vertebrae, as with a lumbarised S1")
            return phrase("six lumbar-type vertebrae: the uppermost may be T12 without ribs, or the lowest a lumbarised S1")
        if self.lumbar == USUAL_LUMBAR - 1:
            if self.pairs:
                return phrase("twelve rib pairs and four lumbar-type vertebrae, as with a sacralised L5")
            return phrase("four lumbar-type vertebrae: the last ribs may be at L1, or L5 sacralised")
        return _lumbar_type(USUAL_LUMBAR)


def _lumbar_type(number: int) -> Phrase:
    if number < USUAL_LUMBAR:
        return phrase("four lumbar-type vertebrae")
    return phrase("six lumbar-type vertebrae") if number > USUAL_LUMBAR else phrase("five lumbar-type vertebrae")
