"""Does the text of a plan or an imaging order name a planned spine instrumentation?"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from node.alerts.values import FoundWord

#: A clause ends at a comma, semicolon or line end, and at a full stop after a whole word: "Z.n. PLIF" is one clause.
_CLAUSE_END = re.compile(r"[,;\r\n]|(?<=\w{3})\.(?=\s|$)")
_NO_WORD = re.compile(r"[\W_]+")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
#: Number of words allowed between "Z.n." and what was done, as in "Z.n. dorso-ventraler Spondylodese".
_WORDS_BETWEEN = 2


@dataclass(frozen=True, slots=True)
class Search:
    """Result of a search in the texts.

    Attributes:
        planned: the first instrumentation word without a past word before it.
        past: whether there is one with a past word before it; the search ends at ``planned``.
    """

    planned: FoundWord | None
    past: bool


def find_instrumentation(texts: Iterable[tuple[str, str]], words: Sequence[str], past_words: Sequence[str]) -> Search:
    """Find an instrumentation word without a past word before it.

    A word is found at the start of a word ("PLIFs", "Pedikelschraubenosteosynthese"), never inside one, nor across two
    fields or clauses. Case, the spelling of umlauts and the characters between its parts do not matter.

    Args:
        texts: each with the name of its field first.
    """
    past = False
    normal_past = [_normal(word) for word in past_words]
    for field, text in texts:
        for clause in _CLAUSE_END.split(text):
            normal = _normal(clause)
            for word in words:
                for start in _starts(normal, _normal(word)):
                    if not _is_past(normal[:start], normal_past):
                        return Search(FoundWord(word, field), past)
                    past = True
    return Search(None, past)


def _normal(text: str) -> str:
    """Lower-case words with one space before each: " plif l4 5"."""
    folded = unicodedata.normalize("NFC", text).casefold().translate(_UMLAUTS)
    return " " + _NO_WORD.sub(" ", folded).strip()


def _starts(text: str, word: str) -> Iterator[int]:
    start = text.find(word)
    while start >= 0:
        yield start
        start = text.find(word, start + 1)


def _is_past(before: str, past_words: Sequence[str]) -> bool:
    """Whether a whole past word is among the last words before the one that was found."""
    for word in past_words:
        start = f"{before} ".rfind(f"{word} ")
        if start >= 0 and len(before[start + len(word) :].split()) <= _WORDS_BETWEEN:
            return True
    return False
