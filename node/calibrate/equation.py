"""One entry of the registry of HU-to-BMD equations."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints, field_validator, model_validator

from node.calibrate.kernel import KernelClass
from node.model import Calibration, ContrastPhase

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
#: A TOML date, without quotes; numbers and strings are rejected.
_Date = Annotated[dt.date, Strict()]
_Range = tuple[dt.date, dt.date]
#: Acceptance limit of a phantom fit: below it, rods were misplaced or mixed up.
LEAST_R2 = 0.995
#: Plausible range of a fitted slope, mg/cm3 per HU; about 0.7 to 0.8 follows from attenuation tables at 120 kVp.
SLOPE_RANGE = (0.40, 1.10)
#: Outside this range a slope at 120 kVp is doubtful: 0.68 to 0.83 follows from attenuation tables at 65 to 75 keV.
_USUAL_SLOPE_AT_120_KVP = (0.65, 0.90)


class Status(StrEnum):
    """Whether an entry may be used; ``pending`` needs approval, ``off`` has a message that says what to do first."""

    ACTIVE = "active"
    PENDING = "pending"
    OFF = "off"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Fit(_Entry):
    """Statistics of a straight line through the rods of a calibration phantom."""

    phantom: _Text
    date: _Date
    # two points always lie on a line
    n: Annotated[int, Field(ge=3)]
    r2: Annotated[float, Field(ge=LEAST_R2, le=1)]
    slope_se: Annotated[float, Field(ge=0)]
    intercept_se: Annotated[float, Field(ge=0)]
    # averaged scans, and the standard deviation of their slopes and intercepts
    repeats: Annotated[int, Field(ge=1)] = 1
    slope_sd: Annotated[float, Field(ge=0)] | None = None
    intercept_sd: Annotated[float, Field(ge=0)] | None = None
    # of an independent insert, in percent of its density
    insert_error_percent: float | None = None

    def __str__(self) -> str:
        parts = [
            f"fit to {self.phantom} of {self.date}: n = {self.n}, R2 = {self.r2:g}",
            f"standard error of the slope {self.slope_se:g}, of the intercept {self.intercept_se:g}",
        ]
        if self.slope_sd is not None and self.intercept_sd is not None:
            spread = f"SD of the slope {self.slope_sd:g}, of the intercept {self.intercept_sd:g}"
            parts.append(f"{self.repeats} repeats, {spread}")
        if self.insert_error_percent is not None:
            parts.append(f"independent insert {self.insert_error_percent:+.1f} %")
        return ", ".join(parts)


class Equation(_Entry):
    """BMD = slope x HU + intercept with its conditions of use; ``docs/calibration.md`` describes the fields.

    ``valid_from`` and ``valid_until`` (both inclusive) are compared with the date of the CT, never with today: the same CT
    always gets the same equation. There is no other expiry date.
    """

    id: _Text
    manufacturer: Annotated[tuple[_Text, ...], Field(min_length=1)]
    model: Annotated[tuple[_Text, ...], Field(min_length=1)]
    kvp: Annotated[float, Field(gt=0)]
    kernel_class: KernelClass | None = None
    contrast_phase: ContrastPhase | None = None
    device_serial_number: _Text | None = None
    station_name: _Text | None = None
    valid_from: _Date | None = None
    valid_until: _Date | None = None
    slope: Annotated[float, Field(ge=SLOPE_RANGE[0], le=SLOPE_RANGE[1])]
    intercept: float
    material: Literal["HA", "K2HPO4", "not stated"]
    source: str = ""
    fit: Fit | None = None
    status: Status
    message: str = ""
    approved_by: _Text | None = None
    approved_on: _Date | None = None

    @field_validator("contrast_phase")
    @classmethod
    def _phase_is_one(cls, phase: ContrastPhase | None) -> ContrastPhase | None:
        if phase is ContrastPhase.UNKNOWN:
            raise ValueError("omit contrast_phase if the equation is not restricted to one")
        return phase

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.status is Status.OFF and not self.message:
            raise ValueError("an equation that is off needs a message that says what to do")
        if not self.source and self.fit is None:
            raise ValueError("an equation needs its source or its fit")
        if (self.approved_by is None) != (self.approved_on is None):
            raise ValueError("approved_by and approved_on must be set together")
        if self.fit is not None and self.status is Status.ACTIVE and self.approved_by is None:
            raise ValueError('a phantom fit that is active needs approved_by and approved_on; until then it is "pending"')
        first, last = self.validity
        if first > last:
            raise ValueError("valid_from is later than valid_until")
        return self

    @property
    def validity(self) -> _Range:
        """First and last date of a CT."""
        return self.valid_from or dt.date.min, self.valid_until or dt.date.max

    @property
    def specificity(self) -> int:
        """How many of kernel class, contrast phase, serial number and station the entry is restricted to."""
        restrictions = (self.kernel_class, self.contrast_phase, self.device_serial_number, self.station_name)
        return sum(restriction is not None for restriction in restrictions)

    @property
    def dated(self) -> dt.date:
        """The date that decides which entry is newer: of its fit, else the start of validity, else its approval.

        An entry without any of them is the oldest.
        """
        return (self.fit.date if self.fit else None) or self.valid_from or self.approved_on or dt.date.min

    @property
    def scanner(self) -> str:
        """Manufacturers and models as text."""
        return f"{' | '.join(self.manufacturer)}, {' | '.join(self.model)}"

    @property
    def origin(self) -> str:
        """Citation, phantom fit, or both."""
        return "; ".join(part for part in (self.source, str(self.fit) if self.fit else "") if part)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a person should check before using the entry."""
        low, high = _USUAL_SLOPE_AT_120_KVP
        if self.kvp == 120 and not low <= self.slope <= high:
            return (f"the slope {self.slope:g} is outside the usual {low:g} to {high:g} at 120 kVp: check it",)
        return ()

    def calibration(self) -> Calibration:
        """The equation as part of a result."""
        return Calibration(
            id=self.id,
            slope=self.slope,
            intercept=self.intercept,
            material=self.material,
            source=self.origin,
            contrast_phase=self.contrast_phase,
            approved_by=self.approved_by,
            approved_on=self.approved_on,
            slope_se=self.fit.slope_se if self.fit else None,
            intercept_se=self.fit.intercept_se if self.fit else None,
            fit_points=self.fit.n if self.fit else None,
            of_this_scanner=self.device_serial_number is not None or self.station_name is not None,
        )


def may_fit_the_same_ct(one: Equation, other: Equation) -> bool:
    """Whether some CT fits both entries, regardless of their status."""
    restrictions = (
        (one.kernel_class, other.kernel_class),
        (one.contrast_phase, other.contrast_phase),
        (plain(one.device_serial_number), plain(other.device_serial_number)),
        (plain(one.station_name), plain(other.station_name)),
    )
    return (
        not plain_set(one.manufacturer).isdisjoint(plain_set(other.manufacturer))
        and not plain_set(one.model).isdisjoint(plain_set(other.model))
        and one.kvp == other.kvp
        and all(a == b or not a or not b for a, b in restrictions)
        and max(one.validity[0], other.validity[0]) <= min(one.validity[1], other.validity[1])
    )


def plain(text: str | None) -> str:
    """Text without case and blanks, for comparison."""
    return "".join((text or "").split()).casefold()


def plain_set(texts: tuple[str, ...]) -> frozenset[str]:
    """Texts without case and blanks."""
    return frozenset(map(plain, texts))
