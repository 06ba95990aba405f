"""What the words of Image Type mean for Hounsfield units; the table is explained in ``docs/admission.md``.

Value 1 says whether the pixel values are those of the reconstruction (ORIGINAL) or were computed from other images
(DERIVED); value 2 whether the image is a direct result of the examination (PRIMARY) or was made afterwards (SECONDARY)
(PS3.3 C.7.6.1.1.2). Value 3 of a CT is AXIAL or LOCALIZER, value 4 names multi-energy images (PS3.3 C.8.2.1.1.1).
Manufacturers add words of their own. Values made by interpolation keep their mean, so that a plain reformat is measured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from node.language.phrase import Phrase, phrase


class Worth(Enum):
    """What an image is good for."""

    #: HU are certain.
    BMD = "bmd"
    #: HU are credible, but somebody has processed them: they are reported, without a bone density.
    HU = "hu"
    #: They may be anything.
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; the first that fits decides.

    Attributes:
        origin: value 1, or ``None`` for any.
        by: value 2, or ``None`` for any.
        words: what the further values must contain, ``None`` for anything.
        worth: of such images.
        why: for a report, if there is no bone density.
    """

    origin: str | None
    by: str | None
    words: re.Pattern[str] | None
    worth: Worth
    why: Phrase | None = None


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


#: A reformat of the volume by interpolation. The node writes CONVERTED for the slices of a NIfTI file.
_REFORMAT = _words(r"\b(reformatted|mpr|resampled|oblique|sagittal|coronal|converted)\b")
#: Siemens: the reconstruction that made the images, spiral (SPI) or sequence (SEQ), with the generation of the software.
_RECONSTRUCTION = _words(r"\bct som\d+ (spi|seq)\b")
#: GE names what its post-processing has written; what it did is not said. Others write FILTERED or DENOISED.
_PROCESSED = _words(r"\b(processed|post ?processed|filtered|denoised|averaged slices)\b")

TABLE = (
    Row("ORIGINAL", None, None, Worth.BMD),
    Row("DERIVED", "PRIMARY", _RECONSTRUCTION, Worth.BMD),
    Row("DERIVED", None, _PROCESSED, Worth.HU, phrase("processed after the reconstruction, in a way that is not said")),
    Row("DERIVED", None, _REFORMAT, Worth.BMD),
    Row("DERIVED", "PRIMARY", _words(r"\baxial\b"), Worth.HU, phrase("derived on the scanner, in a way that is not said")),
    Row("DERIVED", None, None, Worth.NOTHING),
    # no Image Type, or a word of its own: as most scanners do, the header says nothing against it
    Row(None, None, None, Worth.BMD),
)


def row_of(image_type: Sequence[str], technique: str) -> Row:
    """The row of the table for an image.

    Args:
        image_type: the values of Image Type, or of Frame Type.
        technique: Volume Based Calculation Technique (PS3.3 C.8.16.1.3), or nothing.
    """
    origin, by = (*image_type, "", "")[:2]
    further = spaced(" ".join([*image_type[2:], technique]))
    return next(
        row
        for row in TABLE
        if row.origin in (None, origin) and row.by in (None, by) and (row.words is None or row.words.search(further))
    )


def is_accepted(image_type: Sequence[str], accepted: Sequence[str]) -> bool:
    r"""Whether a site takes images of this type for true HU, whatever the table says.

    An entry names all values, separated by ``\``; a last value ``*`` stands for any further ones.
    """
    values = [value.upper() for value in image_type]
    for entry in accepted:
        wanted = [value.strip().upper() for value in entry.split("\\")]
        if wanted[-1:] == ["*"]:
            if values[: len(wanted) - 1] == wanted[:-1]:
                return True
        elif values == wanted:
            return True
    return False


def spaced(text: str) -> str:
    """Words of a header that are joined by ``_`` or ``-``, separated."""
    return text.replace("_", " ").replace("-", " ")
