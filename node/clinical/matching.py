"""Is the patient of a planned operation the patient of an image? The same, in doubt, or another one.

The complete rule:

1. Two identifiers are the same if their values *and* their issuers are the same. Values are compared exactly, except for
   spaces around them. The same value from another issuer is another number. Without a common number it is another patient.
2. With a common number, name, birth date and sex are checked. What both sides have must agree, and both sides must have the
   name or the birth date; otherwise it is in doubt.
3. If the value is the same and one side does not name its issuer, it is in doubt, with any name.

Names agree if all words of one side are among those of the other, and there are at least two, or if both sides have the same
words. Word order, case, accents and hyphens do not matter; "ä" may be "ae" or "a". Prefix and suffix are ignored, and so are
academic titles anywhere. So "MUELLER^Anna" agrees with "Müller-Schmidt^Anna Maria^^Dr.", but "Meier^Anna" does not.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from node.clinical.identity import Issuers, PatientIdentity
from node.language.phrase import phrase
from node.model import Reason

_NO_WORD = re.compile(r"[\W_]+")
_LETTERS_OF = str.maketrans({"ß": "ss", "æ": "ae", "ø": "o", "œ": "oe", "đ": "d", "ł": "l", "ı": "i"})
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
_TITLES = frozenset({"dr", "prof", "med", "dent", "vet", "phil", "rer", "nat", "habil", "dipl", "ing", "mag"})
_MIN_WORDS = 2


class PatientMatch(StrEnum):
    """How certain it is that two records are about one person."""

    SAME = "same"
    DOUBT = "doubt"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class MatchedPatient:
    """Outcome of a comparison.

    Attributes:
        match: only ``SAME`` may lead to an alert.
        doubts: why it is not certain, without patient data; empty for ``SAME`` and ``OTHER``.
    """

    match: PatientMatch
    doubts: tuple[Reason, ...] = ()


def match_patient(planned: PatientIdentity, imaged: PatientIdentity, issuers: Issuers) -> MatchedPatient:
    """Compare the patient of a planned operation with the one of an image, by the rule of this module."""
    common = _common_number(planned, imaged, issuers)
    if common is False:
        return MatchedPatient(PatientMatch.OTHER)
    doubts = []
    if common is None:
        doubts.append(
            Reason(
                "issuer_not_known",
                phrase(
                    "the patient ID is the same, but one side does not name its issuer: set plans.default_issuer if all "
                    "patient IDs at this site have one issuer"
                ),
            )
        )
    if planned.names and imaged.names and not names_agree(planned.names, imaged.names):
        doubts.append(Reason("name_differs", phrase("the patient ID is the same, but the name differs")))
    if planned.birth_date and imaged.birth_date and planned.birth_date != imaged.birth_date:
        doubts.append(Reason("birth_date_differs", phrase("the patient ID is the same, but the birth date differs")))
    if planned.sex in ("M", "F") and imaged.sex in ("M", "F") and planned.sex != imaged.sex:
        doubts.append(Reason("sex_differs", phrase("the patient ID is the same, but the sex differs")))
    if not (planned.names and imaged.names) and not (planned.birth_date and imaged.birth_date):
        doubts.append(
            Reason(
                "nothing_to_check_by",
                phrase("the patient ID is the same, but neither the name nor the birth date is known on both sides"),
            )
        )
    return MatchedPatient(PatientMatch.DOUBT if doubts else PatientMatch.SAME, tuple(doubts))


def names_agree(some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Whether any spelling of the one name agrees with any of the other, by the rule of this module."""
    ours = [words for name in some for words in _spellings(name)]
    theirs = [words for name in others for words in _spellings(name)]
    return any(_words_agree(one, other) for one in ours for other in theirs)


def _common_number(planned: PatientIdentity, imaged: PatientIdentity, issuers: Issuers) -> bool | None:
    """Whether both have a number of one issuer in common; ``None`` if the issuer of a common value is unknown."""
    outcome: bool | None = False
    for one in planned.identifiers:
        for other in imaged.identifiers:
            if one.value.strip() != other.value.strip() or not one.value.strip():
                continue
            our_names, their_names = issuers.names_of(one), issuers.names_of(other)
            if our_names & their_names:
                return True
            if not our_names or not their_names:
                outcome = None
    return outcome


def _spellings(name: str) -> list[frozenset[str]]:
    """The words of family, given and middle name, with "ä" as "ae" and as "a"."""
    folded = unicodedata.normalize("NFC", " ".join(name.split("^")[:3])).casefold()
    return [_words(folded.translate(_UMLAUTS)), _words(folded)]


def _words(folded: str) -> frozenset[str]:
    apart = unicodedata.normalize("NFKD", folded.translate(_LETTERS_OF))
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    words = frozenset(_NO_WORD.sub(" ", bare).split())
    # "Ing" is also a family name: a title is left out only if a whole name remains
    return words - _TITLES if len(words - _TITLES) >= _MIN_WORDS else words


def _words_agree(one: frozenset[str], other: frozenset[str]) -> bool:
    fewer, more = sorted((one, other), key=len)
    return bool(fewer) and (fewer == more or (len(fewer) >= _MIN_WORDS and fewer <= more))
