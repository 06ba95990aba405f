"""Outcome of a delivery: of every sent object, every offered part, and the supported SOP classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from node.common.errors import RejectedError
from node.deliver.status import Outcome
from node.model.object_kinds import sop_class_name
from node.records.destinations import Ability


@dataclass(frozen=True, slots=True)
class SentObject:
    """Outcome of one object at a destination.

    Attributes:
        status: of the C-STORE response; ``None`` if its presentation context was not accepted.
        detail: for people; empty if it was stored without a warning.
        comment: error comment of the destination; it may name the patient, so keep it out of logs.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    outcome: Outcome
    status: int | None
    detail: str
    comment: str

    @property
    def is_stored(self) -> bool:
        """Whether the destination stored it."""
        return self.outcome is not Outcome.REJECTED

    def __str__(self) -> str:
        """The SOP class, and why it was refused."""
        return f"{sop_class_name(self.sop_class_uid)}: {self.detail}"


@dataclass(frozen=True, slots=True)
class PartAnswer:
    """Outcome of one offer.

    Attributes:
        tried: the forms that were tried, in order; the last one is stored, or none is.
        is_held: whether the destination has a form of it from an earlier delivery, so that nothing was sent.
        is_class_refused: whether every form was refused for its SOP class, not for its content.
    """

    part: str
    tried: tuple[SentObject, ...]
    is_held: bool
    is_class_refused: bool

    @property
    def taken(self) -> SentObject | None:
        """The form stored in this delivery."""
        return self.tried[-1] if self.tried and self.tried[-1].is_stored else None

    @property
    def is_there(self) -> bool:
        """Whether the destination has a form of it, from this or an earlier delivery."""
        return self.is_held or self.taken is not None

    def __str__(self) -> str:
        """What was stored instead of what, or why nothing was stored."""
        refused = "; ".join(str(sent) for sent in self.tried if not sent.is_stored)
        taken = self.taken
        if taken is None:
            return f"no {self.part}: {refused or 'already there' if self.is_held else refused}"
        return f"{self.part} as {sop_class_name(taken.sop_class_uid)}" + (f" ({refused})" if refused else "")


@dataclass(frozen=True, slots=True)
class Delivery:
    """Outcome of a delivery.

    Attributes:
        objects: every object that was tried, in the order of the offers.
        parts: outcome of each offer.
        abilities: answers of the destination per SOP class.
        failures: why the delivery must be repeated; empty if the destination has answered for everything.
    """

    destination: str
    objects: tuple[SentObject, ...]
    parts: tuple[PartAnswer, ...] = ()
    abilities: tuple[Ability, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def rejected(self) -> tuple[SentObject, ...]:
        """The objects that the destination refused permanently."""
        return tuple(sent for sent in self.objects if not sent.is_stored)

    def require_all_stored(self) -> None:
        """Check that nothing was refused.

        Raises:
            RejectedError: lists every refused object with its status.
        """
        if self.rejected:
            lines = "; ".join(f"{s.path.name} ({sop_class_name(s.sop_class_uid)}): {s.detail}" for s in self.rejected)
            raise RejectedError(f"{self.destination} refused {len(self.rejected)} of {len(self.objects)} objects: {lines}")
