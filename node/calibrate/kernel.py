"""The class of a reconstruction kernel, by manufacturer and name.

An equation may be restricted to a class, so a name counts only if it is known for its manufacturer: ``B`` is a soft kernel
of Philips but not a kernel of Siemens. Unknown kernels have no class. The ranking of series is less strict.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum

from node.model import SeriesFacts


class KernelClass(StrEnum):
    """Edge enhancement of a kernel: ``soft`` for soft tissue, including standard kernels; ``sharp`` for bone and lung."""

    SOFT = "soft"
    SHARP = "sharp"


#: Body kernels (B30f, Br40), with iteration (I30f): the number is the sharpness.
_SIEMENS = re.compile(r"[BI][A-Z]?(\d\d)[A-Z]?", re.IGNORECASE)
#: SOMATOM Sensation, operating instructions ("Body Kernels"): B30 and B40 are the standard, B31 and B41 as sharp as these,
#: B10 and B20 softer; "for higher sharpness" B50 to B80. Those between are neither.
_SIEMENS_SOFT_UP_TO = 41
_SIEMENS_SHARP_FROM = 50
#: GE names its kernels by their use. DETAIL is between the classes; EXPERIMENTAL7 says nothing.
_GE = {
    KernelClass.SOFT: frozenset({"SOFT", "STANDARD", "STND"}),
    KernelClass.SHARP: frozenset({"LUNG", "BONE", "BONEPLUS", "EDGE", "ULTRA"}),
}
#: Philips: sharper with later letters; C is the soft, D the sharp series of many NLST scans. From usage, not read in a
#: manual.
_PHILIPS = {KernelClass.SOFT: frozenset({"A", "B", "C"}), KernelClass.SHARP: frozenset({"D", "E", "L"})}
#: Toshiba and Canon: FC01 to FC19 for the body, thirties for bone, fifties and eighties for lung. From usage, not read in a
#: manual. Others, for the head and localizers (FL), have no class here.
_TOSHIBA = re.compile(r"FC(\d\d)[A-Z]?", re.IGNORECASE)
_TOSHIBA_SOFT_TENS = frozenset({0, 1})
_TOSHIBA_SHARP_TENS = frozenset({3, 5, 8})


def kernel_class(manufacturer: str | None, convolution_kernel: str | None) -> KernelClass | None:
    """Class of a kernel (0018,1210) of a manufacturer (0008,0070); ``None`` if it is not known.

    Checked against the spellings of the NLST collection in the Imaging Data Commons, version 25.
    """
    maker, kernel = "".join((manufacturer or "").split()).casefold(), (convolution_kernel or "").strip().upper()
    for prefixes, class_of in _MAKERS:
        if maker.startswith(prefixes):
            return class_of(kernel)
    return None


def sharp_kernel(facts: SeriesFacts) -> str | None:
    """Name of the kernel of a series if it is known to be sharp."""
    known = kernel_class(facts.manufacturer, facts.convolution_kernel)
    return facts.convolution_kernel if known is KernelClass.SHARP else None


def _siemens(kernel: str) -> KernelClass | None:
    found = _SIEMENS.fullmatch(kernel)
    if found is None:
        return None
    sharpness = int(found.group(1))
    if sharpness >= _SIEMENS_SHARP_FROM:
        return KernelClass.SHARP
    return KernelClass.SOFT if sharpness <= _SIEMENS_SOFT_UP_TO else None


def _toshiba(kernel: str) -> KernelClass | None:
    found = _TOSHIBA.fullmatch(kernel)
    tens = int(found.group(1)) // 10 if found else None
    if tens in _TOSHIBA_SHARP_TENS:
        return KernelClass.SHARP
    return KernelClass.SOFT if tens in _TOSHIBA_SOFT_TENS else None


def _named(names: dict[KernelClass, frozenset[str]]) -> Callable[[str], KernelClass | None]:
    return lambda kernel: next((known for known, spellings in names.items() if kernel in spellings), None)


#: Prefixes of Manufacturer, without case and blanks.
_MAKERS: tuple[tuple[tuple[str, ...], Callable[[str], KernelClass | None]], ...] = (
    (("siemens",), _siemens),
    (("gemedical", "gehealthcare"), _named(_GE)),
    (("philips",), _named(_PHILIPS)),
    (("toshiba", "canon"), _toshiba),
)
