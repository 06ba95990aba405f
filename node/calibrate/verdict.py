"""Which entries fit a CT, and why the others do not: pure functions on frozen values.

Reason codes are the same for one entry and for the whole registry; ``docs/calibration.md`` says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.calibrate.equation import Equation, Status, plain, plain_set
from node.calibrate.kernel import KernelClass, kernel_class
from node.language.phrase import Phrase, joined, phrase
from node.model import ContrastPhase, Reason, SeriesFacts

_KERNEL_WORDS = {KernelClass.SOFT: phrase("soft"), KernelClass.SHARP: phrase("sharp")}
_PHASE_NAMES = {
    ContrastPhase.NONE: phrase("none"),
    ContrastPhase.ARTERIAL: phrase("arterial"),
    ContrastPhase.PORTAL_VENOUS: phrase("portal_venous"),
    ContrastPhase.UNKNOWN: phrase("not known"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Verdict on one entry for one CT; it fits if there is no reason against it."""

    equation: Equation
    reasons: tuple[Reason, ...]

    @property
    def fits(self) -> bool:
        """Whether the entry may be used for the CT."""
        return not self.reasons


def verdict(equation: Equation, facts: SeriesFacts) -> Verdict:
    """Check all conditions of an entry and collect every reason against it."""
    if unusable := unusable_facts(facts):
        return Verdict(equation, (unusable,))
    return Verdict(equation, tuple(reason for check in _CHECKS if (reason := check(equation, facts))))


def best(verdicts: Sequence[Verdict]) -> Equation | None:
    """The most specific matching entry, and the newest of these; ``None`` if none fits.

    The answer is unique: a registry with ties is refused.
    """
    fitting = [one.equation for one in verdicts if one.fits]
    return max(fitting, key=lambda equation: (equation.specificity, equation.dated), default=None)


def unusable_facts(facts: SeriesFacts) -> Reason | None:
    """Why no entry can be chosen from these headers; ``None`` if one may be."""
    if facts.multi_energy:
        return Reason(
            "multi_energy",
            phrase(
                "multi-energy image: KVP does not determine the scale of its values (PS3.3 C.8.15.3.12), so no equation "
                "can be chosen, HU only"
            ),
        )
    named = (
        ("Manufacturer", facts.manufacturer),
        ("Manufacturer's Model Name", facts.manufacturer_model_name),
        ("KVP", facts.kvp),
    )
    missing = [name for name, value in named if value is None]
    if missing:
        said = phrase("the header lacks {missing}: no equation can be chosen, HU only", missing=", ".join(missing))
        return Reason("scanner_unknown", said)
    return None


def why_none(equations: Sequence[Equation], facts: SeriesFacts) -> Reason:
    """Why no entry fits: the reasons against the nearest entries, in the order of the checks."""
    if unusable := unusable_facts(facts):
        return unusable
    near: list[tuple[Equation, Reason]] = []
    left = list(equations)
    for check in _CHECKS:
        near = [(equation, reason) for equation in left if (reason := check(equation, facts))]
        if len(near) == len(left):
            break
        failed = {equation.id for equation, _ in near}
        left = [equation for equation in left if equation.id not in failed]
    # the site's own entries come last and matter most to the site
    code = near[-1][1].code if near else "no_equation"
    return Reason(code, _why(code, near, facts))


def _why(code: str, near: Sequence[tuple[Equation, Reason]], facts: SeriesFacts) -> Phrase:
    scanner = f"{facts.manufacturer} {facts.manufacturer_model_name}"
    if code == "no_equation":
        return phrase("no validated HU-to-BMD equation for the scanner {scanner}: HU only", scanner=scanner)
    kvp = facts.kvp or 0.0  # without a kVp no entry is checked
    if code == "no_equation_for_kvp":
        active = sorted({equation.kvp for equation, _ in near if equation.status is Status.ACTIVE})
        known = ", ".join(f"{kvp:g}" for kvp in active)
        return phrase(
            "no validated HU-to-BMD equation for {scanner} at {kvp:g} kVp (available kVp: {known}): HU only",
            scanner=scanner,
            kvp=kvp,
            known=known or phrase("none"),
        )
    if code == "equation_off" and len(near) == 1:
        off = near[0][0]
        return phrase("the equation {id} is switched off: {message} HU only", id=off.id, message=off.message)
    each = joined((joined((equation.id, reason.detail), ": ") for equation, reason in near), "; ")
    return phrase(
        "no HU-to-BMD equation for {scanner} at {kvp:g} kVp fits ({each}): HU only", scanner=scanner, kvp=kvp, each=each
    )


def _scanner(equation: Equation, facts: SeriesFacts) -> Reason | None:
    is_made_by = plain(facts.manufacturer) in plain_set(equation.manufacturer)
    if is_made_by and plain(facts.manufacturer_model_name) in plain_set(equation.model):
        return None
    return Reason(
        "no_equation",
        phrase(
            "for {scanner}; the CT is from {manufacturer}, {model}",
            scanner=equation.scanner,
            manufacturer=str(facts.manufacturer),
            model=str(facts.manufacturer_model_name),
        ),
    )


def _kvp(equation: Equation, facts: SeriesFacts) -> Reason | None:
    if facts.kvp == equation.kvp:
        return None
    said = phrase("for {kvp:g} kVp; the CT has {has:g} kVp", kvp=equation.kvp, has=facts.kvp or 0.0)
    return Reason("no_equation_for_kvp", said)


def _device(equation: Equation, facts: SeriesFacts) -> Reason | None:
    return _unit(phrase("serial number"), equation.device_serial_number, facts.device_serial_number)


def _station(equation: Equation, facts: SeriesFacts) -> Reason | None:
    return _unit(phrase("station"), equation.station_name, facts.station_name)


def _unit(name: Phrase, wanted: str | None, has: str | None) -> Reason | None:
    if wanted is None or plain(wanted) == plain(has):
        return None
    said = phrase(
        "for the {name} {wanted}; the CT has {has}", name=name, wanted=wanted, has=has or phrase("none in its header")
    )
    return Reason("no_equation_for_device", said)


def _kernel(equation: Equation, facts: SeriesFacts) -> Reason | None:
    wanted, has = equation.kernel_class, kernel_class(facts.manufacturer, facts.convolution_kernel)
    if wanted is None or wanted is has:
        return None
    name = facts.convolution_kernel
    if not name:
        said = phrase("for {wanted} kernels; the kernel is not stated", wanted=_KERNEL_WORDS[wanted])
    elif has is None:
        said = phrase(
            "for {wanted} kernels; the class of kernel {name} is not known", wanted=_KERNEL_WORDS[wanted], name=name
        )
    else:
        said = phrase(
            "for {wanted} kernels; the kernel {name} is {has}",
            wanted=_KERNEL_WORDS[wanted],
            name=name,
            has=_KERNEL_WORDS[has],
        )
    return Reason("no_equation_for_kernel", said)


def _phase(equation: Equation, facts: SeriesFacts) -> Reason | None:
    wanted, has = equation.contrast_phase, facts.contrast_phase
    if wanted is None or wanted is has:
        return None
    names = (_PHASE_NAMES[wanted], _PHASE_NAMES[has])
    said = phrase("for the contrast phase {wanted}; that of the CT is {has}", wanted=names[0], has=names[1])
    return Reason("no_equation_for_phase", said)


def _validity(equation: Equation, facts: SeriesFacts) -> Reason | None:
    if equation.valid_from is None and equation.valid_until is None:
        return None
    first, last = equation.validity
    made = facts.acquisition_date
    if made is None:
        return Reason("ct_date_unknown", phrase("valid for certain dates only; the CT header has no date"))
    if made < first:
        said = phrase("valid from {first}; the CT was acquired on {made}", first=first.isoformat(), made=made.isoformat())
        return Reason("equation_not_yet_valid", said)
    if made > last:
        said = phrase(
            "expired: valid until {last}; the CT was acquired on {made}", last=last.isoformat(), made=made.isoformat()
        )
        return Reason("equation_expired", said)
    return None


def _status(equation: Equation, _facts: SeriesFacts) -> Reason | None:
    if equation.status is Status.PENDING:
        said = phrase("pending, not approved yet")
        return Reason("equation_pending", joined((said, equation.message), ": ") if equation.message else said)
    if equation.status is Status.OFF:
        return Reason("equation_off", phrase("switched off: {message}", message=equation.message))
    return None


#: Conditions of an entry; the scanner comes first, so that the reason shows how close the nearest entry is.
_CHECKS: tuple[Callable[[Equation, SeriesFacts], Reason | None], ...] = (
    _scanner,
    _kvp,
    _device,
    _station,
    _kernel,
    _phase,
    _validity,
    _status,
)
