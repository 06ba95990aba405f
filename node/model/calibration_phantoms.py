"""Calibration phantoms as data: densities and positions of their rods.

Known phantoms are in ``calibration_phantoms.toml``; a site may describe its own in the same format.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from node.common.errors import ConfigurationError
from node.common.toml_text import validated

#: Converts the line through Mindways' rods to that of the scanner: ``s_CT = s_ref - 0.2174``, ``b_CT = b_ref + 999.6``.
MINDWAYS_SLOPE_SHIFT = 0.2174
MINDWAYS_OFFSET_SHIFT_HU = 999.6
#: Prefix of a setting with a file of rods instead of a known phantom.
_FILE_PREFIX = "rods:"
#: Unknown keys are rejected as typos.
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Rod:
    """One rod.

    Attributes:
        density_mg_cm3: density of the reference material.
        water_mg_cm3: water-equivalent density (Mindways); ``None`` for other rods.
        place_mm: position of its centre along the row; ``None``: at the common distance from the previous rod.
    """

    __pydantic_config__ = _STRICT

    density_mg_cm3: float
    water_mg_cm3: float | None = None
    place_mm: float | None = None


@dataclass(frozen=True, slots=True)
class CalibrationPhantom:
    """A row of parallel rods of one diameter.

    Attributes:
        name: as used in commands and settings.
        material: reference material of the densities.
        rods: in order along the row.
        rod_diameter_mm: of every rod.
        rod_distance_mm: between the centres of neighbours without ``place_mm``.
        serial_number: of a site's own phantom; empty where the densities are nominal.
    """

    __pydantic_config__ = _STRICT

    name: str
    material: Literal["HA", "K2HPO4"]
    rods: tuple[Rod, ...]
    rod_diameter_mm: float
    rod_distance_mm: float
    serial_number: str = ""

    def __post_init__(self) -> None:
        """Validate the row of rods.

        Raises:
            ValueError: with the mistake.
        """
        if not self.name.strip():
            raise ValueError("the phantom needs a name")
        if len(self.rods) < 2:
            raise ValueError("at least two rods are needed")
        if not 5 <= self.rod_diameter_mm <= 60:
            raise ValueError(f"rod_diameter_mm is {self.rod_diameter_mm:g}, must be 5 to 60")
        if len({rod.water_mg_cm3 is None for rod in self.rods}) > 1:
            raise ValueError("water_mg_cm3 must be set for every rod or for none")
        if any(rod.place_mm is None for rod in self.rods) and any(rod.place_mm is not None for rod in self.rods):
            raise ValueError("place_mm must be set for every rod or for none")
        if len({rod.density_mg_cm3 for rod in self.rods}) < len(self.rods):
            raise ValueError("two rods have the same density")
        if min(b - a for a, b in pairwise(self.places_mm)) < self.rod_diameter_mm:
            raise ValueError("the rods must be in order along the row, at least a diameter apart")

    @property
    def title(self) -> str:
        """Name with serial number, if any."""
        return f"{self.name}, serial number {self.serial_number}" if self.serial_number else self.name

    @property
    def places_mm(self) -> tuple[float, ...]:
        """Positions of the centres along the row."""
        return tuple(k * self.rod_distance_mm if rod.place_mm is None else rod.place_mm for k, rod in enumerate(self.rods))

    @property
    def has_water_values(self) -> bool:
        """Whether the Mindways procedure applies."""
        return self.rods[0].water_mg_cm3 is not None

    def rod_hu(self, slope: float, intercept_mg_cm3: float) -> tuple[float, ...]:
        """HU of the rods on a scanner with density = ``slope`` x HU + ``intercept_mg_cm3``.

        Rods with water values read ``water + s_ref x density + b_ref`` with ``s_ref = 1 / slope + 0.2174`` and
        ``b_ref = -intercept / slope - 999.6``: the Mindways procedure, solved for HU.
        """
        offset_hu = -intercept_mg_cm3 / slope
        if not self.has_water_values:
            return tuple(rod.density_mg_cm3 / slope + offset_hu for rod in self.rods)
        return tuple(
            (rod.water_mg_cm3 or 0.0)
            + (1 / slope + MINDWAYS_SLOPE_SHIFT) * rod.density_mg_cm3
            + offset_hu
            - MINDWAYS_OFFSET_SHIFT_HU
            for rod in self.rods
        )


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    phantom: Annotated[tuple[CalibrationPhantom, ...], Field(min_length=1)]


def known_phantoms() -> tuple[CalibrationPhantom, ...]:
    """The phantoms in the shipped table, in order."""
    text = files("node.model").joinpath("calibration_phantoms.toml").read_text(encoding="utf-8")
    return validated(_File, text, "calibration_phantoms.toml").phantom


def known_phantom(name: str) -> CalibrationPhantom:
    """A phantom of the shipped table; case and blanks do not matter.

    Raises:
        ConfigurationError: there is none with this name; lists the known ones.
    """
    known = {_plain(phantom.name): phantom for phantom in known_phantoms()}
    if _plain(name) not in known:
        names = ", ".join(phantom.name for phantom in known.values())
        raise ConfigurationError(
            f"there is no calibration phantom {name!r}; known are {names}; describe any other with --rods"
        )
    return known[_plain(name)]


def read_phantom(path: Path) -> CalibrationPhantom:
    """A site's own phantom, from a TOML file with one ``[[phantom]]``.

    Raises:
        ConfigurationError: the file cannot be read, or is invalid.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the phantom file {path} cannot be read: {error}") from error
    phantoms = validated(_File, text, str(path)).phantom
    if len(phantoms) > 1:
        raise ConfigurationError(f"the phantom file {path} describes {len(phantoms)} phantoms: keep only the scanned one")
    return phantoms[0]


def named_phantom(setting: str | None) -> CalibrationPhantom | None:
    """The phantom of a setting: name of a known phantom, or ``rods:FILE``; ``None`` means none.

    Raises:
        ConfigurationError: see :func:`known_phantom` and :func:`read_phantom`.
    """
    if setting is None:
        return None
    if setting.startswith(_FILE_PREFIX):
        return read_phantom(Path(setting.removeprefix(_FILE_PREFIX)))
    return known_phantom(setting)


def _plain(name: str) -> str:
    return "".join(name.split()).replace("-", "").replace("_", "").casefold()
