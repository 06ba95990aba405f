"""Drift of scanners: the trend of the reference readings of every scan.

Air is -1000 HU by definition, and tissue means over many patients are constant over the years. If these readings change
together over time, the scanner drifts, and an equation made for it no longer fits. Scanners drift by 0.55 to 2.29 HU per
year (Löffler 2019).

Patients differ by more than a scanner drifts, so a drift is flagged only if it exceeds its limit *and* the scatter of the
readings. This rule, the number of scans, and the limits other than that of the slope are assumptions: no source gives any.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from node.calibrate.equation import plain
from node.model import ContrastPhase
from node.records.scans import Scan, Scanner
from node.settings.tree import StabilitySettings

#: With fewer scans, or a shorter time, there is no conclusion. Assumptions.
MIN_SCANS = 10
MIN_DAYS = 90
#: Normal quantile: exceeded by chance in one of a hundred.
_Z_99 = 2.58
#: Of a normal distribution: standard error of the median in sd / sqrt(n).
_MEDIAN_SE = math.sqrt(math.pi / 2)
_DAYS_PER_YEAR = 365.25
#: The slope uses every pair of points; above this number of scans, weekly medians are used.
_MAX_POINTS = 1000

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading whose trend is followed.

    Attributes:
        attribute: of :class:`~node.model.ScanReadings`.
        unenhanced_only: contrast raises it, so only scans known to be unenhanced count.
        kind: which limit applies; noise depends on dose, kernel and slices, so it has none.
    """

    attribute: str
    name: str
    unenhanced_only: bool
    kind: Literal["air", "tissue", "noise"]


#: The spinal canal is excluded: headers do not record intrathecal contrast.
READINGS = (
    Reading("air_hu", "air", False, "air"),
    Reading("fat_hu", "fat", False, "tissue"),
    Reading("muscle_hu", "muscle", True, "tissue"),
    Reading("aorta_hu", "aorta", True, "tissue"),
    Reading("vena_cava_hu", "vena cava", True, "tissue"),
    Reading("kidney_hu", "kidneys", True, "tissue"),
    Reading("noise_sd_hu", "noise (SD)", False, "noise"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Trend:
    """One reading of one scanner over time.

    Attributes:
        dates: of the included scans, in order.
        values_hu: of the same scans.
        slope_hu_per_year: Theil-Sen slope; ``None`` with too few scans or too short a time.
        slope_interval_hu_per_year: its 95 % confidence interval.
        baseline_hu: median of the first scans; ``None`` if there are too few.
        deviation_hu: median of the latest scans minus the baseline; ``None`` if there are too few.
        limit_hu: of the deviation; ``None`` if there is none.
        drifts: what exceeds its limit, as text; empty if nothing does.
    """

    reading: Reading
    dates: tuple[dt.date, ...]
    values_hu: tuple[float, ...]
    slope_hu_per_year: float | None
    slope_interval_hu_per_year: tuple[float, float] | None
    baseline_hu: float | None
    deviation_hu: float | None
    limit_hu: float | None
    drifts: tuple[str, ...]

    @property
    def median_hu(self) -> float:
        """Median of all included scans."""
        return float(np.median(self.values_hu))


@dataclass(frozen=True, slots=True, eq=False)
class ScannerTrends:
    """All readings of one scanner; ``n_scans`` is the number of scans with a date."""

    scanner: Scanner
    n_scans: int
    trends: tuple[Trend, ...]

    @property
    def drifts(self) -> tuple[str, ...]:
        """What exceeds its limit, with the name of the reading."""
        return tuple(f"{trend.reading.name} {drift}" for trend in self.trends for drift in trend.drifts)


def scanner_trends(scans: Sequence[Scan], settings: StabilitySettings) -> tuple[ScannerTrends, ...]:
    """Trends of every scanner, sorted by name.

    A scanner is identified by manufacturer, model, serial number, station and tube voltage, compared without case and
    blanks. Scans without a date are excluded. Vessels, muscle and kidneys count only in scans known to be unenhanced; an
    unknown phase may hide contrast.
    """
    groups: dict[tuple[str, ...], list[Scan]] = defaultdict(list)
    for scan in scans:
        if scan.acquisition_date is not None:
            groups[_key(scan.scanner)].append(scan)
    found = []
    for key in sorted(groups):
        ordered = sorted(groups[key], key=lambda scan: (scan.acquisition_date or dt.date.min, scan.study_instance_uid))
        trends = tuple(trend for reading in READINGS if (trend := _trend(reading, ordered, settings)) is not None)
        found.append(ScannerTrends(ordered[-1].scanner, len(ordered), trends))
    return tuple(found)


def scanner_name(scanner: Scanner) -> str:
    """The scanner in one line."""
    named = (
        " ".join(part for part in (scanner.manufacturer, scanner.manufacturer_model_name) if part) or "scanner not stated"
    )
    serial = f"serial number {scanner.device_serial_number}" if scanner.device_serial_number else "no serial number"
    station = f"station {scanner.station_name}" if scanner.station_name else "no station name"
    return f"{named}, {serial}, {station}, {'kVp not stated' if scanner.kvp is None else f'{scanner.kvp:g} kVp'}"


def stability_table(found: ScannerTrends) -> str:
    """Trends of one scanner as a table for the terminal; no trailing newline."""
    scans = f"{found.n_scans} scan{'' if found.n_scans == 1 else 's'}"
    rows = [("reading", "n", "first", "last", "median HU", "HU/year", "latest - baseline", "verdict")]
    for trend in found.trends:
        verdict = "; ".join(trend.drifts) and f"DRIFT: {'; '.join(trend.drifts)}"
        rows.append(
            (
                trend.reading.name,
                str(len(trend.dates)),
                trend.dates[0].isoformat(),
                trend.dates[-1].isoformat(),
                f"{trend.median_hu:.1f}",
                "-" if trend.slope_hu_per_year is None else f"{trend.slope_hu_per_year:+.2f}",
                "-" if trend.deviation_hu is None else f"{trend.deviation_hu:+.1f}",
                verdict
                or ("too few scans" if trend.deviation_hu is None else "no limit" if trend.limit_hu is None else "ok"),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"{scanner_name(found.scanner)}: {scans}", *(f"  {line}" for line in lines)])


def _key(scanner: Scanner) -> tuple[str, ...]:
    texts = (
        scanner.manufacturer,
        scanner.manufacturer_model_name,
        scanner.device_serial_number,
        scanner.station_name,
    )
    return (*map(plain, texts), "" if scanner.kvp is None else f"{scanner.kvp:08.3f}")


def _trend(reading: Reading, scans: Sequence[Scan], settings: StabilitySettings) -> Trend | None:
    """The trend of a reading; ``None`` if no scan has it."""
    points = [
        (scan.acquisition_date, value)
        for scan in scans
        if scan.acquisition_date is not None
        and (value := getattr(scan.readings, reading.attribute)) is not None
        and (not reading.unenhanced_only or scan.contrast_phase is ContrastPhase.NONE)
    ]
    if not points:
        return None
    dates, values = tuple(date for date, _ in points), tuple(float(value) for _, value in points)
    limit_hu = {"air": settings.air_hu, "tissue": settings.tissue_hu}.get(reading.kind)
    slope, interval = _slope(dates, np.array(values))
    baseline_hu = deviation_hu = None
    drifts = []
    if len(values) >= MIN_SCANS:
        window = min(settings.window, len(values) // 2)
        first, latest = np.array(values[:window]), np.array(values[-window:])
        baseline_hu = float(np.median(first))
        deviation_hu = float(np.median(latest)) - baseline_hu
        beyond_chance = abs(deviation_hu) > _Z_99 * math.hypot(_standard_error(first), _standard_error(latest))
        if limit_hu is not None and abs(deviation_hu) > limit_hu and beyond_chance:
            drifts.append(f"{deviation_hu:+.1f} HU from the baseline (limit {limit_hu:g})")
    # an interval that includes zero shows no trend
    moves = interval is not None and interval[0] * interval[1] > 0
    if limit_hu is not None and slope is not None and moves and abs(slope) > settings.slope_hu_per_year:
        drifts.append(f"{slope:+.2f} HU/year (limit {settings.slope_hu_per_year:g})")
    return Trend(reading, dates, values, slope, interval, baseline_hu, deviation_hu, limit_hu, tuple(drifts))


def _slope(dates: Sequence[dt.date], values_hu: _Floats) -> tuple[float | None, tuple[float, float] | None]:
    """Theil-Sen slope in HU per year with its 95 % confidence interval (Sen 1968), robust against outliers."""
    if len(values_hu) < MIN_SCANS or (dates[-1] - dates[0]).days < MIN_DAYS:
        return None, None
    years = np.array([(date - dates[0]).days for date in dates]) / _DAYS_PER_YEAR
    if len(values_hu) > _MAX_POINTS:
        weeks = np.floor(years * _DAYS_PER_YEAR / 7)
        which = [weeks == week for week in np.unique(weeks)]
        years, values_hu = (np.array([np.median(array[chosen]) for chosen in which]) for array in (years, values_hu))
    fitted = stats.theilslopes(values_hu, years, alpha=0.95)
    return float(fitted.slope), (float(fitted.low_slope), float(fitted.high_slope))


def _standard_error(values_hu: _Floats) -> float:
    """Standard error of the median, from the median absolute deviation, for a normal distribution."""
    sd = float(stats.median_abs_deviation(values_hu, scale="normal"))
    return _MEDIAN_SE * sd / math.sqrt(len(values_hu))
