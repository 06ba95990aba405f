"""Which entries fit a CT, and why each of the others does not: pure functions on frozen values.

The codes of the reasons are the same for one entry and for the whole registry; ``docs/calibration.md`` says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.calibrate.equation import Equation, Status, plain, plain_set
from node.calibrate.kernel import kernel_class
from node.model import ContrastPhase, Reason, SeriesFacts


@dataclass(frozen=True, slots=True)
class Verdict:
    """Judgement on one entry for one CT; it fits if there is no reason against it."""

    equation: Equation
    reasons: tuple[Reason, ...]

    @property
    def fits(self) -> bool:
        """Whether the entry may be used for the CT."""
        return not self.reasons


def verdict(equation: Equation, facts: SeriesFacts) -> Verdict:
    """Judge an entry by everything that decides its use, and say everything that speaks against it."""
    if unusable := unusable_facts(facts):
        return Verdict(equation, (unusable,))
    return Verdict(equation, tuple(reason for check in _CHECKS if (reason := check(equation, facts))))


def best(verdicts: Sequence[Verdict]) -> Equation | None:
    """The entry that fits: the most specific one, of these the newest; ``None`` if none fits.

    A registry is refused where two entries could be equal in both, so there is one answer.
    """
    fitting = [one.equation for one in verdicts if one.fits]
    return max(fitting, key=lambda equation: (equation.specificity, equation.dated), default=None)


def unusable_facts(facts: SeriesFacts) -> Reason | None:
    """Why no entry at all can be chosen by these headers; ``None`` if one may be."""
    if facts.multi_energy:
        return Reason(
            "multi_energy",
            "made from several X-ray energies: its KVP does not tell the scale of its values (PS3.3 C.8.15.3.12), "
            "so no equation can be chosen, HU only",
        )
    named = (
        ("Manufacturer", facts.manufacturer),
        ("Manufacturer's Model Name", facts.manufacturer_model_name),
        ("KVP", facts.kvp),
    )
    missing = [name for name, value in named if value is None]
    if missing:
        return Reason("scanner_unknown", f"the header lacks {' and '.join(missing)}: no equation can be chosen, HU only")
    return None


def why_none(equations: Sequence[Equation], facts: SeriesFacts) -> Reason:
    """Why none of the entries fits: what speaks against those that come nearest, in the order of the checks."""
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
    # a site's own entries stand last, and what it did with them is what it wants to know
    code = near[-1][1].code if near else "no_equation"
    return Reason(code, f"{_why(code, near, facts)} HU only")


def _why(code: str, near: Sequence[tuple[Equation, Reason]], facts: SeriesFacts) -> str:
    scanner = f"{facts.manufacturer} {facts.manufacturer_model_name}"
    if code == "no_equation":
        return f"no validated HU-to-BMD equation for the scanner {scanner}:"
    if code == "no_equation_for_kvp":
        active = sorted({equation.kvp for equation, _ in near if equation.status is Status.ACTIVE})
        known = ", ".join(f"{kvp:g}" for kvp in active) or "none"
        return f"no validated HU-to-BMD equation for {scanner} at {facts.kvp:g} kVp (there is one for: {known}):"
    if code == "equation_off" and len(near) == 1:
        return f"the equation {near[0][0].id} is switched off: {near[0][0].message}"
    each = "; ".join(f"{equation.id}: {reason.detail}" for equation, reason in near)
    return f"no HU-to-BMD equation for {scanner} at {facts.kvp:g} kVp fits ({each}):"


def _scanner(equation: Equation, facts: SeriesFacts) -> Reason | None:
    is_made_by = plain(facts.manufacturer) in plain_set(equation.manufacturer)
    if is_made_by and plain(facts.manufacturer_model_name) in plain_set(equation.model):
        return None
    return Reason(
        "no_equation", f"for {equation.scanner}; the CT is from {facts.manufacturer}, {facts.manufacturer_model_name}"
    )


def _kvp(equation: Equation, facts: SeriesFacts) -> Reason | None:
    if facts.kvp == equation.kvp:
        return None
    return Reason("no_equation_for_kvp", f"for {equation.kvp:g} kVp; the CT has {facts.kvp:g} kVp")


def _device(equation: Equation, facts: SeriesFacts) -> Reason | None:
    return _unit("serial number", equation.device_serial_number, facts.device_serial_number)


def _station(equation: Equation, facts: SeriesFacts) -> Reason | None:
    return _unit("station", equation.station_name, facts.station_name)


def _unit(name: str, wanted: str | None, has: str | None) -> Reason | None:
    if wanted is None or plain(wanted) == plain(has):
        return None
    return Reason("no_equation_for_device", f"for the {name} {wanted}; the CT has {has or 'none in its header'}")


def _kernel(equation: Equation, facts: SeriesFacts) -> Reason | None:
    wanted, has = equation.kernel_class, kernel_class(facts.manufacturer, facts.convolution_kernel)
    if wanted is None or wanted is has:
        return None
    kernel = f"the kernel {facts.convolution_kernel}" if facts.convolution_kernel else "the kernel, which is not stated,"
    known = f"is {has}" if has else "is of no known class"
    return Reason("no_equation_for_kernel", f"for {wanted} kernels; {kernel} {known}")


def _phase(equation: Equation, facts: SeriesFacts) -> Reason | None:
    wanted, has = equation.contrast_phase, facts.contrast_phase
    if wanted is None or wanted is has:
        return None
    known = "is not known" if has is ContrastPhase.UNKNOWN else f"is {has}"
    return Reason("no_equation_for_phase", f"for the contrast phase {wanted}; that of the CT {known}")


def _validity(equation: Equation, facts: SeriesFacts) -> Reason | None:
    if equation.valid_from is None and equation.valid_until is None:
        return None
    first, last = equation.validity
    made = facts.acquisition_date
    if made is None:
        return Reason("ct_date_unknown", "valid for some dates only; the header of the CT has no date")
    if made < first:
        return Reason("equation_not_yet_valid", f"valid from {first}; the CT was made on {made}")
    if made > last:
        return Reason("equation_expired", f"expired: valid until {last}; the CT was made on {made}")
    return None


def _status(equation: Equation, _facts: SeriesFacts) -> Reason | None:
    if equation.status is Status.PENDING:
        note = f": {equation.message}" if equation.message else ""
        return Reason("equation_pending", f"pending, not approved by anybody yet{note}")
    if equation.status is Status.OFF:
        return Reason("equation_off", f"switched off: {equation.message}")
    return None


#: What decides the use of an entry; the scanner first, so that the reason tells how near the nearest entry comes.
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
