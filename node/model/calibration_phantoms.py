"""Calibration phantoms as data: what their rods hold, and where the rods lie in the row.

Known ones stand in ``calibration_phantoms.toml``; a site may give its own in the same form.
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

#: What turns the line through Mindways' rods into that of the scanner: ``s_CT = s_ref - 0.2174``, ``b_CT = b_ref + 999.6``.
MINDWAYS_SLOPE_SHIFT = 0.2174
MINDWAYS_OFFSET_SHIFT_HU = 999.6
#: Prefix of a setting that names a file of rods instead of a known phantom.
_FILE_PREFIX = "rods:"
#: A key of another name is a slip of the pen.
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Rod:
    """One rod.

    Attributes:
        density_mg_cm3: of the reference material in it.
        water_mg_cm3: of the water equivalent in it (Mindways); ``None`` for rods whose density alone counts.
        place_mm: where its centre lies along the row; ``None``: at the common distance from the rod before it.
    """

    __pydantic_config__ = _STRICT

    density_mg_cm3: float
    water_mg_cm3: float | None = None
    place_mm: float | None = None


@dataclass(frozen=True, slots=True)
class CalibrationPhantom:
    """A row of parallel rods of one diameter.

    Attributes:
        name: as commands and settings spell it.
        material: reference material of the densities.
        rods: in their order along the row.
        rod_diameter_mm: of every rod.
        rod_distance_mm: between the centres of neighbours that do not state their place.
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
        """Refuse what is no row of rods.

        Raises:
            ValueError: says what is wrong.
        """
        if not self.name.strip():
            raise ValueError("the phantom needs a name")
        if len(self.rods) < 2:
            raise ValueError("at least two rods are needed")
        if not 5 <= self.rod_diameter_mm <= 60:
            raise ValueError(f"rod_diameter_mm is {self.rod_diameter_mm:g}, must be 5 to 60")
        if len({rod.water_mg_cm3 is None for rod in self.rods}) > 1:
            raise ValueError("water_mg_cm3 stands with every rod or with none")
        if any(rod.place_mm is None for rod in self.rods) and any(rod.place_mm is not None for rod in self.rods):
            raise ValueError("place_mm stands with every rod or with none")
        if len({rod.density_mg_cm3 for rod in self.rods}) < len(self.rods):
            raise ValueError("two rods have the same density")
        if min(b - a for a, b in pairwise(self.places_mm)) < self.rod_diameter_mm:
            raise ValueError("the rods must lie along the row in their order, at least a diameter apart")

    @property
    def title(self) -> str:
        """Name with the serial number, if there is one."""
        return f"{self.name}, serial number {self.serial_number}" if self.serial_number else self.name

    @property
    def places_mm(self) -> tuple[float, ...]:
        """Where the centres lie along the row."""
        return tuple(k * self.rod_distance_mm if rod.place_mm is None else rod.place_mm for k, rod in enumerate(self.rods))

    @property
    def has_water_values(self) -> bool:
        """Whether the line is found by the procedure of Mindways."""
        return self.rods[0].water_mg_cm3 is not None

    def rod_hu(self, slope: float, intercept_mg_cm3: float) -> tuple[float, ...]:
        """HU of the rods on a scanner with density = ``slope`` x HU + ``intercept_mg_cm3``.

        Rods with water values read ``water + s_ref x density + b_ref`` with ``s_ref = 1 / slope + 0.2174`` and
        ``b_ref = -intercept / slope - 999.6``: the procedure of Mindways, solved for HU.
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
    """The phantoms of the shipped table, in its order."""
    text = files("node.model").joinpath("calibration_phantoms.toml").read_text(encoding="utf-8")
    return validated(_File, text, "calibration_phantoms.toml").phantom


def known_phantom(name: str) -> CalibrationPhantom:
    """A phantom of the shipped table; case and blanks do not matter.

    Raises:
        ConfigurationError: there is none of that name; names those that there are.
    """
    known = {_plain(phantom.name): phantom for phantom in known_phantoms()}
    if _plain(name) not in known:
        names = ", ".join(phantom.name for phantom in known.values())
        raise ConfigurationError(
            f"no calibration phantom is called {name!r}; known are {names}; describe any other one in a file of rods"
        )
    return known[_plain(name)]


def read_phantom(path: Path) -> CalibrationPhantom:
    """A site's own phantom, from a TOML file with one ``[[phantom]]``.

    Raises:
        ConfigurationError: the file cannot be read, or says something wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the file of rods {path} cannot be read: {error}") from error
    phantoms = validated(_File, text, str(path)).phantom
    if len(phantoms) > 1:
        raise ConfigurationError(
            f"the file of rods {path} describes {len(phantoms)} phantoms: keep the one that was scanned"
        )
    return phantoms[0]


def named_phantom(setting: str | None) -> CalibrationPhantom | None:
    """What a setting means: the name of a known phantom, or ``rods:FILE``; ``None`` means none.

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
