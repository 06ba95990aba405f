"""Who may have one of the few associations: pure rules, without sockets.

A slot is taken when an association is accepted, not before. When all are taken, or all that one address may have, an
association that has done nothing yet gives way; one that has stored something keeps its slot until it is idle for too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: A sound sender goes on at once after its association is accepted.
IDLE_AT_LEAST_S: Final = 0.5
#: A sender that was given this time must have sent at this rate, or it only keeps its slot.
_FAIR_TIME_S: Final = 60.0
_SLOWEST_BYTES_PER_S: Final = 10_000


@dataclass(frozen=True, slots=True)
class Occupied:
    """What decides whether an association keeps its slot.

    Attributes:
        key: of the association.
        address: of its peer.
        has_stored: whether an instance of it was stored.
        age_s: since it was accepted.
        idle_s: since something of it arrived.
        n_bytes: that arrived.
    """

    key: int
    address: str
    has_stored: bool
    age_s: float
    idle_s: float
    n_bytes: int

    @property
    def may_give_way(self) -> bool:
        """Whether it has done nothing that would be lost."""
        if self.has_stored:
            return False
        is_slow = self.age_s > _FAIR_TIME_S and self.n_bytes < _SLOWEST_BYTES_PER_S * self.age_s
        return self.idle_s >= IDLE_AT_LEAST_S or is_slow


@dataclass(frozen=True, slots=True)
class Slots:
    """How many associations there may be.

    Attributes:
        most: at the same time.
        most_per_address: of one address at the same time; 0: as many as there are.
    """

    most: int
    most_per_address: int

    def is_free(self, occupied: Sequence[Occupied], address: str) -> bool:
        """Whether a further association of this address may be accepted."""
        of_address = sum(one.address == address for one in occupied)
        return len(occupied) < self.most and (not self.most_per_address or of_address < self.most_per_address)

    def gives_way(self, occupied: Sequence[Occupied], address: str) -> int | None:
        """Key of the association that gives way, if no slot is free: of the same address first, idle for longest."""
        of_address = [one for one in occupied if one.address == address]
        is_own_limit = bool(self.most_per_address) and len(of_address) >= self.most_per_address
        choice = [one for one in (of_address if is_own_limit else occupied) if one.may_give_way]
        if not choice:
            return None
        return max(choice, key=lambda one: (one.address == address, one.idle_s)).key
