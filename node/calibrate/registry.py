"""The registry of HU-to-BMD equations: shipped ones and a site's own."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from node.calibrate.contrast import CorrectionEntry
from node.calibrate.equation import Equation, Status, may_fit_the_same_ct
from node.calibrate.verdict import Verdict, best, verdict, why_none
from node.common.errors import ConfigurationError
from node.common.toml_text import validated
from node.model import Calibration, Reason, SeriesFacts


@dataclass(frozen=True, slots=True)
class Registry:
    """All equations, and the site's own corrections for contrast.

    Raises:
        ConfigurationError: an id is used twice, or two active entries could fit the same CT and neither is more specific or
            newer: a tie is an error at start, never a guess. A correction is for an equation that does not exist or was
            made for a contrast phase, or there are two for the same equation and phase.
    """

    shipped: tuple[Equation, ...]
    site: tuple[Equation, ...] = ()
    contrast_corrections: tuple[CorrectionEntry, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an ambiguous registry."""
        ids = Counter(equation.id for equation in self.equations)
        twice = [key for key, n in ids.items() if n > 1]
        if twice:
            raise ConfigurationError(f"the equation id {twice[0]} is in the registry twice: give one of them another id")
        active = [equation for equation in self.equations if equation.status is Status.ACTIVE]
        for one, other in combinations(active, 2):
            equal = (one.specificity, one.dated) == (other.specificity, other.dated)
            if equal and may_fit_the_same_ct(one, other):
                raise ConfigurationError(
                    f"the equations {one.id} and {other.id} fit the same scanner and kVp, and neither is more specific or "
                    "newer: switch one of them off, or restrict or date it"
                )

        self._check_corrections()

    def _check_corrections(self) -> None:
        known = {equation.id: equation for equation in self.equations}
        seen: set[tuple[str, str]] = set()
        for entry in self.contrast_corrections:
            named = f"the contrast correction for {entry.equation}, {entry.phase}"
            if entry.equation not in known:
                raise ConfigurationError(f"{named}: there is no equation with this id")
            if known[entry.equation].contrast_phase is not None:
                raise ConfigurationError(f"{named}: the equation is already restricted to a contrast phase")
            if (entry.equation, entry.phase) in seen:
                raise ConfigurationError(f"{named} is there twice: remove one of them")
            seen.add((entry.equation, entry.phase))

    @property
    def equations(self) -> tuple[Equation, ...]:
        """All equations, shipped ones first."""
        return self.shipped + self.site

    def verdicts(self, facts: SeriesFacts) -> tuple[Verdict, ...]:
        """Judge every entry for a CT."""
        return tuple(verdict(equation, facts) for equation in self.equations)

    def match(self, facts: SeriesFacts) -> Calibration | Reason:
        """Find the equation for a series: the most specific matching entry, and the newest of these.

        Returns:
            The equation, or the reason why none may be used, with the code of the check at which the nearest entries fail:
            ``multi_energy``; ``scanner_unknown`` (manufacturer, model or kVp missing); ``no_equation`` (none for this
            scanner model); ``no_equation_for_`` with ``kvp``, ``device``, ``kernel`` or ``phase``; ``ct_date_unknown``;
            ``equation_`` with ``not_yet_valid``, ``expired``, ``pending`` or ``off``.
        """
        chosen = best(self.verdicts(facts))
        return why_none(self.equations, facts) if chosen is None else chosen.calibration()

    def unapproved(self) -> tuple[Equation, ...]:
        """Active entries of the site without an approver; a shipped entry has its citation."""
        return tuple(e for e in self.site if e.status is Status.ACTIVE and e.approved_by is None)

    def pending(self) -> tuple[Equation, ...]:
        """Entries waiting for approval."""
        return tuple(e for e in self.equations if e.status is Status.PENDING)

    def expired(self, today: dt.date) -> tuple[Equation, ...]:
        """Active entries that new CTs no longer get; older CTs still do."""
        return tuple(e for e in self.equations if e.status is Status.ACTIVE and e.validity[1] < today)


class _File(BaseModel):
    """A file of equations and contrast corrections; other tables are rejected as typos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    equation: tuple[Equation, ...] = ()
    contrast_correction: tuple[CorrectionEntry, ...] = ()


def load_registry(site_file: Path | None) -> Registry:
    """Read the shipped equations and the site's own.

    Raises:
        ConfigurationError: a file cannot be read, an entry is wrong, or the registry has a tie (see :class:`Registry`).
    """
    if site_file is None:
        return Registry(shipped_equations())
    try:
        text = site_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"calibrate.site_equations: {site_file} cannot be read: {error}") from error
    return registry_of(text, str(site_file))


def registry_of(site_text: str, name: str) -> Registry:
    """The registry with a site's own entries as TOML; ``name`` identifies the text in errors.

    Raises:
        ConfigurationError: see :func:`load_registry`.
    """
    site = validated(_File, site_text, name)
    return Registry(shipped_equations(), site.equation, site.contrast_correction)


def shipped_equations() -> tuple[Equation, ...]:
    """The equations shipped with the node."""
    text = files("node.calibrate").joinpath("equations.toml").read_text(encoding="utf-8")
    return validated(_File, text, "equations.toml").equation
