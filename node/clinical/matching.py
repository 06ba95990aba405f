"""Is the patient of a planned operation the patient of an image? Same, in doubt, or another one.

The rule, all of it:

1. An identifier counts as the same if its value *and* its issuer are the same; values are compared as they stand, but for
   blanks around them. The same value from another issuer is another number. No common number: another patient.
2. With a common number, name, birth date and sex are the check. What both sides say must agree, and at least the name or the
   birth date must be said by both; otherwise it is in doubt.
3. The same value where one side does not name its issuer is in doubt, whatever the name.

Names agree if one side's words are all among the other's, and they are two or more, or both sides have the same words. The
order of the words, capitals, accents and hyphens do not count; "ä" may be "ae" or "a"; prefix and suffix are left out, with
academic titles wherever they stand. So "MUELLER^Anna" agrees with "Müller-Schmidt^Anna Maria^^Dr.", but "Meier^Anna" does
not.
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
    """How sure it is that two records speak of one person."""

    SAME = "same"
    DOUBT = "doubt"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class MatchedPatient:
    """Outcome of a comparison.

    Attributes:
        match: nobody is alerted on anything but ``SAME``.
        doubts: what keeps it from being sure, without patient data; empty with ``SAME`` and ``OTHER``.
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
                    "the same patient ID, but one side does not say who issued it: set plans.default_issuer if all numbers "
                    "at this site come from one issuer"
                ),
            )
        )
    if planned.names and imaged.names and not names_agree(planned.names, imaged.names):
        doubts.append(Reason("name_differs", phrase("the same patient ID with another name")))
    if planned.birth_date and imaged.birth_date and planned.birth_date != imaged.birth_date:
        doubts.append(Reason("birth_date_differs", phrase("the same patient ID with another birth date")))
    if planned.sex in ("M", "F") and imaged.sex in ("M", "F") and planned.sex != imaged.sex:
        doubts.append(Reason("sex_differs", phrase("the same patient ID with another sex")))
    if not (planned.names and imaged.names) and not (planned.birth_date and imaged.birth_date):
        doubts.append(
            Reason("nothing_to_check_by", phrase("the same patient ID, but not both sides give a name or a birth date"))
        )
    return MatchedPatient(PatientMatch.DOUBT if doubts else PatientMatch.SAME, tuple(doubts))


def names_agree(some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Whether any spelling of the one name agrees with any of the other, by the rule of this module."""
    ours = [words for name in some for words in _spellings(name)]
    theirs = [words for name in others for words in _spellings(name)]
    return any(_words_agree(one, other) for one in ours for other in theirs)


def _common_number(planned: PatientIdentity, imaged: PatientIdentity, issuers: Issuers) -> bool | None:
    """Whether both have a number of one issuer in common; ``None`` if the issuer of a common value is not known."""
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
    # "Ing" is a family name, too: a title is left out only where a whole name remains
    return words - _TITLES if len(words - _TITLES) >= _MIN_WORDS else words


def _words_agree(one: frozenset[str], other: frozenset[str]) -> bool:
    fewer, more = sorted((one, other), key=len)
    return bool(fewer) and (fewer == more or (len(fewer) >= _MIN_WORDS and fewer <= more))
