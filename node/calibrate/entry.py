"""From the fits of one scanner's phantom scans to a pending entry of the registry."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from node.calibrate.equation import Equation, Fit, Status, plain
from node.calibrate.find_rods import FoundRods
from node.calibrate.fit import Insert, Line, insert_error, mean_line
from node.calibrate.kernel import kernel_class
from node.common.errors import InputError
from node.model import Reason, SeriesFacts
from node.model.calibration_phantoms import CalibrationPhantom

#: Months until an entry expires; 6 to 12 are recommended.
DEFAULT_MONTHS = 12


@dataclass(frozen=True, slots=True, eq=False)
class PhantomScan:
    """One accepted phantom scan: header facts, rods, and fitted line."""

    facts: SeriesFacts
    rods: FoundRods
    line: Line


@dataclass(frozen=True, slots=True)
class EntryOptions:
    """User choices for an entry.

    Attributes:
        id: ``None``: generated from scanner, tube voltage, kernel class and date.
        months: validity from the day of the scan.
        insert: reading of an independent insert.
    """

    id: str | None = None
    months: int = DEFAULT_MONTHS
    insert: Insert | None = None


def pending_entry(phantom: CalibrationPhantom, scans: Sequence[PhantomScan], options: EntryOptions) -> Equation:
    """The entry of one scanner at one tube voltage and kernel class; repeats are averaged and their spread is recorded.

    Args:
        phantom: the one in every scan.
        scans: at least one.
        options: see :class:`EntryOptions`.

    Raises:
        InputError: a header lacks what an entry needs, the scans are not of one scanner, tube voltage and kernel class, or
            the independent insert is off.
    """
    if not scans:
        raise InputError("no phantom scan was given, so no entry can be made")
    facts = _common_facts([scan.facts for scan in scans])
    manufacturer, model, serial, kernel = (
        _present(facts, name)
        for name in ("manufacturer", "manufacturer_model_name", "device_serial_number", "convolution_kernel")
    )
    dates = sorted(date for scan in scans if (date := scan.facts.acquisition_date) is not None)
    line = mean_line([scan.line for scan in scans])
    error = None if options.insert is None else insert_error(line, options.insert)
    if isinstance(error, Reason):
        raise InputError(error.detail)
    known = kernel_class(manufacturer, kernel)
    name = options.id or _id(model, serial, facts.kvp or 0.0, known or plain(kernel), dates[-1])
    several = len(scans) > 1
    return Equation(
        id=name,
        manufacturer=(manufacturer,),
        model=(model,),
        kvp=facts.kvp or 0.0,
        kernel_class=known,
        device_serial_number=serial,
        station_name=facts.station_name,
        valid_from=dates[0],
        valid_until=_later(dates[-1], options.months),
        slope=_rounded(line.slope),
        intercept=_rounded(line.intercept),
        material=phantom.material,
        source=f"own phantom scan, kernel {kernel}",
        fit=Fit(
            phantom=phantom.title,
            date=dates[-1],
            n=line.n,
            r2=min(_rounded(line.r2, 6), 1.0),
            slope_se=_rounded(line.slope_se),
            intercept_se=_rounded(line.intercept_se),
            repeats=len(scans),
            slope_sd=_rounded(float(np.std([s.line.slope for s in scans], ddof=1))) if several else None,
            intercept_sd=_rounded(float(np.std([s.line.intercept for s in scans], ddof=1))) if several else None,
            insert_error_percent=None if error is None else _rounded(100 * error, 2),
        ),
        status=Status.PENDING,
        message=" ".join(_notes(phantom, scans, known is None, kernel)),
    )


def _notes(phantom: CalibrationPhantom, scans: Sequence[PhantomScan], kernel_unknown: bool, kernel: str) -> Sequence[str]:
    """Notes for the person who approves."""
    notes = []
    if len(scans) < 5:
        notes.append(f"{len(scans)} scan{'s' if len(scans) > 1 else ''} only; 5 repeats are recommended.")
    if not phantom.serial_number:
        notes.append("The densities of the rods are nominal: compare them with the certificate of the phantom.")
    if len(phantom.rods) == 2:
        notes.append("Two rods do not show whether the scale is linear: check with an independent insert.")
    if kernel_unknown:
        notes.append(f"The class of the kernel {kernel} is not known, so the entry fits every kernel.")
    return notes


#: What must be equal in all scans of an entry.
_SAME: dict[str, Callable[[SeriesFacts], object]] = {
    "Manufacturer": lambda f: plain(f.manufacturer),
    "Manufacturer's Model Name": lambda f: plain(f.manufacturer_model_name),
    "Device Serial Number": lambda f: plain(f.device_serial_number),
    "Station Name": lambda f: plain(f.station_name),
    "KVP": lambda f: f.kvp,
    "class of the kernel": lambda f: kernel_class(f.manufacturer, f.convolution_kernel) or plain(f.convolution_kernel),
}
#: Required for an entry.
_NEEDED: dict[str, Callable[[SeriesFacts], object]] = {
    "Manufacturer (0008,0070)": lambda f: f.manufacturer,
    "Manufacturer's Model Name (0008,1090)": lambda f: f.manufacturer_model_name,
    "Device Serial Number (0018,1000)": lambda f: f.device_serial_number,
    "a usable KVP (0018,0060)": lambda f: f.kvp,
    "Convolution Kernel (0018,1210)": lambda f: f.convolution_kernel,
    "Acquisition Date (0008,0022)": lambda f: f.acquisition_date,
}


def _common_facts(facts: Sequence[SeriesFacts]) -> SeriesFacts:
    first = facts[0]
    for one in facts:
        if one.multi_energy:
            raise InputError(f"series {one.series_instance_uid} is a multi-energy image: no entry can be made for it")
        missing = [name for name, value in _NEEDED.items() if value(one) is None]
        if missing:
            raise InputError(
                f"the header of series {one.series_instance_uid} lacks {', '.join(missing)}, which an entry "
                "needs: calibrate from the original images of the scanner"
            )
        different = [name for name, value in _SAME.items() if value(one) != value(first)]
        if different:
            raise InputError(
                f"series {first.series_instance_uid} and {one.series_instance_uid} differ in {', '.join(different)}: only "
                "repeats of one scanner, tube voltage and kernel class are averaged; calibrate each on its own"
            )
    return first


def _present(facts: SeriesFacts, name: str) -> str:
    return str(getattr(facts, name))


def _id(model: str, serial: str, kvp: float, kernel: str, date: dt.date) -> str:
    parts = (model, serial, f"{kvp:g}", kernel, date.isoformat())
    return "-".join(re.sub(r"[^a-z0-9]+", "-", part.casefold()).strip("-") for part in parts)


def _later(date: dt.date, months: int) -> dt.date:
    year, month = divmod(date.year * 12 + date.month - 1 + months, 12)
    return dt.date(year, month + 1, min(date.day, calendar.monthrange(year, month + 1)[1]))


def _rounded(value: float, digits: int = 5) -> float:
    """Digits shown in the file; more than the precision of the value."""
    return round(value, digits)
