"""The destinations on the status page: what each accepts, by its last answer."""

from __future__ import annotations

from dataclasses import dataclass

from node.model.object_kinds import sop_class_name
from node.records.destinations import Answer, DestinationRecords, address_of
from node.records.work import Work, WorkRecords, WorkState
from node.settings.tree import Destination


@dataclass(frozen=True, slots=True)
class AbilityRow:
    """A SOP class and the answer of the destination; times in seconds since the epoch."""

    sop_class: str
    answer: Answer
    since_s: float
    learned_s: float


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """A destination of the settings."""

    name: str
    address: str
    abilities: tuple[AbilityRow, ...]


@dataclass(frozen=True, slots=True)
class DestinationsView:
    """The destinations of the settings, and the records of their answers."""

    destinations: tuple[Destination, ...] = ()
    known: DestinationRecords | None = None
    work: WorkRecords | None = None

    def rows(self) -> tuple[DestinationRow, ...]:
        """Read the records."""
        return tuple(
            DestinationRow(destination.name, address_of(destination), self._abilities(destination))
            for destination in self.destinations
        )

    def given_up(self) -> tuple[Work, ...]:
        """What was given up until a person looks, oldest first."""
        return () if self.work is None else self.work.in_state(WorkState.GIVEN_UP)

    def _abilities(self, destination: Destination) -> tuple[AbilityRow, ...]:
        if self.known is None:
            return ()
        return tuple(
            AbilityRow(sop_class_name(one.ability.sop_class_uid), one.ability.answer, one.since_s, one.learned_s)
            for one in self.known.abilities(destination)
        )
