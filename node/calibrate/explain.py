"""Output of ``bmd-node calibrations``: the registry as a table, and which equation a CT gets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from node.calibrate.equation import Equation
from node.calibrate.kernel import kernel_class
from node.calibrate.registry import Registry
from node.calibrate.verdict import Verdict, best, unusable_facts
from node.model import SeriesFacts

_HEADINGS = (
    *("id", "scanner", "kVp", "kernel", "phase", "unit", "slope", "intercept", "material", "status", "approved", "valid"),
    "source",
)
_NOT_RESTRICTED = "any"


def listing(registry: Registry, today: dt.date) -> tuple[str, ...]:
    """The registry as lines of a table, then messages and doubts that need action."""
    rows = [_HEADINGS, *(_row(equation, today) for equation in registry.equations)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"{e.id}: {note}" for e in registry.equations for note in (e.message, *e.doubts) if note]
    return (*table, *notes)


def explanation(registry: Registry, facts: SeriesFacts) -> tuple[str, ...]:
    """The facts of a series, the equation it gets, and one line per other entry with the reason against it."""
    verdicts = registry.verdicts(facts)
    chosen = best(verdicts)
    lines = [_facts(facts)]
    if chosen is None:
        unusable = unusable_facts(facts)
        lines.append(f"  gets no equation{f': {unusable.detail}' if unusable else ': HU only'}")
        # a reason against every entry is printed once
        rest: Sequence[Verdict] = () if unusable else verdicts
    else:
        lines.append(f"  gets {chosen.id}: {_formula(chosen)}, {chosen.material}; {chosen.origin}{_note(chosen, facts)}")
        rest = [one for one in verdicts if one.equation != chosen]
    return (*lines, *(f"  not {one.equation.id}: {_against(one, chosen)}" for one in rest))


def _row(equation: Equation, today: dt.date) -> tuple[str, ...]:
    unit = " ".join(part for part in (equation.device_serial_number, equation.station_name) if part)
    expired = " (expired)" if equation.validity[1] < today else ""
    return (
        equation.id,
        equation.scanner,
        f"{equation.kvp:g}",
        equation.kernel_class or _NOT_RESTRICTED,
        equation.contrast_phase or _NOT_RESTRICTED,
        unit or _NOT_RESTRICTED,
        f"{equation.slope:g}",
        f"{equation.intercept:g}",
        equation.material,
        f"{equation.status}{expired}",
        f"{equation.approved_by}, {equation.approved_on}" if equation.approved_by else "-",
        f"{equation.valid_from or ''} to {equation.valid_until or ''}".strip()
        if equation.valid_from or equation.valid_until
        else "always",
        equation.origin,
    )


def _facts(facts: SeriesFacts) -> str:
    known = kernel_class(facts.manufacturer, facts.convolution_kernel) or "class not known"
    said = (
        f"{facts.manufacturer or 'manufacturer not stated'}, {facts.manufacturer_model_name or 'model not stated'}",
        "no usable kVp" if facts.kvp is None else f"{facts.kvp:g} kVp",
        f"kernel {facts.convolution_kernel} ({known})" if facts.convolution_kernel else "kernel not stated",
        f"contrast phase {facts.contrast_phase}",
        f"serial number {facts.device_serial_number or 'not stated'}",
        f"station {facts.station_name or 'not stated'}",
        f"made on {facts.acquisition_date}" if facts.acquisition_date else "date not stated",
    )
    return f"series {facts.series_instance_uid}: {', '.join(said)}"


def _formula(equation: Equation) -> str:
    sign = "-" if equation.intercept < 0 else "+"
    return f"BMD = {equation.slope:g} x HU {sign} {abs(equation.intercept):g} mg/cm3"


def _note(equation: Equation, facts: SeriesFacts) -> str:
    if equation.kernel_class is None and kernel_class(facts.manufacturer, facts.convolution_kernel) is None:
        return " (the kernel class is not known; this equation is not restricted to one)"
    return ""


def _against(one: Verdict, chosen: Equation | None) -> str:
    if one.reasons or chosen is None:
        return "; ".join(f"{reason.detail} [{reason.code}]" for reason in one.reasons)
    if one.equation.specificity < chosen.specificity:
        return f"also fits, but {chosen.id} is more specific"
    return f"also fits, but {chosen.id} is newer"
