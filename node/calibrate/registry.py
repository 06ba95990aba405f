"""The registry of HU-to-BMD equations."""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from node.errors import ConfigurationError
from node.model import Calibration, Reason, SeriesFacts

_Text = Annotated[str, Field(min_length=1)]


class Equation(BaseModel):
    """One entry of the registry; field names and meanings as in ``equations.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: _Text
    manufacturer: Annotated[tuple[_Text, ...], Field(min_length=1)]
    model: Annotated[tuple[_Text, ...], Field(min_length=1)]
    kvp: Annotated[float, Field(gt=0)]
    # plausible range of a fitted slope, mg/cm3 per HU; about 0.7 to 0.8 follows from attenuation tables at 120 kVp
    slope: Annotated[float, Field(ge=0.40, le=1.10)]
    intercept: float
    material: Literal["HA", "K2HPO4", "not stated"]
    source: _Text
    status: Literal["active", "off"]
    message: str = ""

    @model_validator(mode="after")
    def _off_says_why(self) -> Equation:
        if self.status == "off" and not self.message:
            raise ValueError("an equation that is off needs a message that says what to do")
        return self

    def fits_scanner(self, manufacturer: str | None, manufacturer_model_name: str | None) -> bool:
        """Whether the entry is for this scanner model; spellings are compared without case and blanks."""
        return _plain(manufacturer) in map(_plain, self.manufacturer) and _plain(manufacturer_model_name) in map(
            _plain, self.model
        )


@dataclass(frozen=True, slots=True)
class Registry:
    """All equations, shipped and the site's own."""

    equations: tuple[Equation, ...]

    def match(self, facts: SeriesFacts) -> Calibration | Reason:
        """Find the equation for a series: manufacturer, model and exact kVp.

        Returns:
            The equation, or the reason why none may be used: ``scanner_unknown`` (manufacturer, model or kVp missing),
            ``no_equation`` (none for this scanner model), ``no_equation_for_kvp``, ``equation_off``.
        """
        missing = [
            name
            for name, value in (
                ("Manufacturer", facts.manufacturer),
                ("Manufacturer's Model Name", facts.manufacturer_model_name),
                ("KVP", facts.kvp),
            )
            if value is None
        ]
        if missing:
            return Reason("scanner_unknown", f"the header lacks {' and '.join(missing)}: no equation can be chosen, HU only")
        scanner = f"{facts.manufacturer} {facts.manufacturer_model_name}"
        of_scanner = [e for e in self.equations if e.fits_scanner(facts.manufacturer, facts.manufacturer_model_name)]
        if not of_scanner:
            return Reason("no_equation", f"no validated HU-to-BMD equation for the scanner {scanner}: HU only")
        of_kvp = [e for e in of_scanner if e.kvp == facts.kvp]
        if not of_kvp:
            known = ", ".join(f"{e.kvp:g}" for e in of_scanner if e.status == "active") or "none"
            return Reason(
                "no_equation_for_kvp",
                f"no validated HU-to-BMD equation for {scanner} at {facts.kvp:g} kVp (there is one for: {known}): HU only",
            )
        active = [e for e in of_kvp if e.status == "active"]
        if not active:
            return Reason("equation_off", f"the equation {of_kvp[0].id} is switched off: {of_kvp[0].message} HU only")
        chosen = active[0]
        return Calibration(chosen.id, chosen.slope, chosen.intercept, chosen.material, chosen.source)


def load_registry(site_file: Path | None) -> Registry:
    """Read the shipped equations and the site's own.

    Raises:
        ConfigurationError: a file cannot be read, an entry is wrong, an id stands twice, or two active entries fit the
            same scanner and kVp (a tie is an error at start, never a guess).
    """
    shipped = files("node.calibrate").joinpath("equations.toml").read_text(encoding="utf-8")
    equations = _parse(shipped, "equations.toml")
    if site_file is not None:
        try:
            text = site_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"calibrate.site_equations: {site_file} cannot be read: {error}") from error
        equations += _parse(text, str(site_file))
    _refuse_ties(equations)
    return Registry(equations)


def _parse(text: str, name: str) -> tuple[Equation, ...]:
    try:
        table = tomllib.loads(text)
        return tuple(Equation.model_validate(entry) for entry in table.get("equation", ()))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name} is no valid TOML: {error}") from error
    except ValidationError as error:
        entry = error.errors(include_url=False)[0]
        raise ConfigurationError(
            f"{name}: an equation is wrong: {'.'.join(map(str, entry['loc']))}: {entry['msg']}"
        ) from error


def _refuse_ties(equations: tuple[Equation, ...]) -> None:
    ids = Counter(e.id for e in equations)
    twice = [key for key, n in ids.items() if n > 1]
    if twice:
        raise ConfigurationError(f"the equation id {twice[0]} stands twice in the registry")
    seen: dict[tuple[str, str, float], str] = {}
    for equation in equations:
        if equation.status != "active":
            continue
        for manufacturer in {_plain(m) for m in equation.manufacturer}:
            for model in {_plain(m) for m in equation.model}:
                key = (manufacturer, model, equation.kvp)
                if key in seen:
                    raise ConfigurationError(
                        f"the equations {seen[key]} and {equation.id} fit the same scanner and kVp; switch one of them off"
                    )
                seen[key] = equation.id


def _plain(text: str | None) -> str:
    return "".join((text or "").split()).casefold()
