"""Do two spellings in the headers of one series name one person?

The images of a series come from one scanner and one order, so two spellings of a name differ by what systems do to a text on
its way: case, order of the components (PS3.5 6.2.1 has another one than HL7), a lost part, a wrong character set, letters
that could not be written. :mod:`node.clinical.matching` is stricter: it compares records of two systems.
"""

from __future__ import annotations

import re
import unicodedata

from node.clinical.matching import names_agree

#: Encodings of DICOM's character sets (PS3.3 C.12.1.1.2) and of Windows; a text may have been read in a wrong one of them.
_ENCODINGS = (
    *("utf-8", "latin-1", "cp1252", "iso8859_2", "iso8859_3", "iso8859_4", "iso8859_5", "iso8859_6", "iso8859_7"),
    *("iso8859_8", "iso8859_9", "iso8859_15", "cp1250", "cp1251", "tis_620", "shift_jis", "iso2022_jp", "euc_jp"),
    *("euc_kr", "gb18030"),
)
#: What systems write for a letter that they cannot: the sign of Unicode, and a question mark.
_LOST = re.compile(r"[?\ufffd]+")
_LONGEST_LOST = 4
#: A name of at least so many letters that is the beginning of the other one was cut by a system with short fields.
_CUT_FROM = 12


def same_name(one: str, other: str) -> bool:
    """Whether two spellings of Patient's Name (0010,0010) name one person, by the rule of this module."""
    ours, theirs = _groups(one), _groups(other)
    if not ours or not theirs or names_agree(ours, theirs) or _misread(one, other):
        return True
    return any(_nearly(a, b) for a in ours for b in theirs)


def is_name(text: str) -> bool:
    """Whether a text holds a name at all, and not just the signs between its components."""
    return bool(_groups(text))


def _groups(text: str) -> tuple[str, ...]:
    return tuple(group for group in text.split("=") if _words(group))


def _nearly(one: str, other: str) -> bool:
    """One has a part more, words written together, letters that were lost, or was cut."""
    ours, theirs = _words(one), _words(other)
    if set(ours) <= set(theirs) or set(theirs) <= set(ours):
        return True
    a, b = "".join(ours), "".join(theirs)
    if a == b or (min(len(a), len(b)) >= _CUT_FROM and (a.startswith(b) or b.startswith(a))):
        return True
    return _with_lost_letters(one, b) or _with_lost_letters(other, a)


def _words(group: str) -> list[str]:
    """Family, given and middle name, without case and accents."""
    folded = unicodedata.normalize("NFKD", " ".join(group.split("^")[:3])).casefold()
    bare = "".join(letter for letter in folded if not unicodedata.combining(letter))
    return re.sub(r"[\W_]+", " ", bare).split()


def _with_lost_letters(damaged: str, whole: str) -> bool:
    parts = _LOST.split(" ".join(damaged.split("^")[:3]))
    known = ["".join(_words(part)) for part in parts]
    if len(parts) < 2 or not "".join(known):
        return False
    return re.fullmatch(f"\\w{{0,{_LONGEST_LOST}}}".join(map(re.escape, known)), whole) is not None


def _misread(one: str, other: str) -> bool:
    """Whether both are the same bytes, read in two character sets."""
    if one.isascii() and other.isascii() and "\x1b" not in one + other:
        return False
    return bool(_as_bytes(one) & _as_bytes(other))


def _as_bytes(text: str) -> set[bytes]:
    found = set()
    for encoding in _ENCODINGS:
        try:
            found.add(text.encode(encoding))
        except UnicodeEncodeError:
            continue
    return found
