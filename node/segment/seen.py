"""A body together with what is visible beside it."""

from __future__ import annotations

from dataclasses import dataclass

from node.segment.instances import Body
from node.segment.ribs import UNSURE_MISFIT, Flanks

#: From this value on a single body counts as thoracic.
THORACIC_FROM = 0.5
#: A rib that is short, or may be the neighbour's, counts only at a body at least this thoracic.
SURELY_THORACIC = 0.9
#: Up to this value a body clearly looks lumbar.
SURELY_LUMBAR = 0.1
#: A body with a certain rib counts as at least this thoracic.
WITH_RIB = 0.9


@dataclass(frozen=True, slots=True)
class Seen:
    """A body with its flanks."""

    body: Body
    flanks: Flanks

    @property
    def bears_rib(self) -> bool:
        """A rib that is certain by itself, or because its body looks thoracic."""
        return self.flanks.bears_rib or (len(self.flanks.ribs) > 0 and self.body.thoracic >= SURELY_THORACIC)

    @property
    def thoracic(self) -> float:
        """0 to 1: the network's rating of the body; a certain rib takes precedence."""
        return max(self.body.thoracic, WITH_RIB) if self.flanks.bears_rib else self.body.thoracic


def may_bear_rib(seen: Seen, next_to_last_rib: bool) -> bool:
    """Whether a supposedly lumbar body may have a rib.

    At a body that clearly looks lumbar, a piece that fits its neighbour equally well belongs to the neighbour's rib. A
    stump is a rudimentary rib only where the ribs end; further down it is a transverse process.
    """
    if seen.body.thoracic > SURELY_LUMBAR:
        return len(seen.flanks.ribs) > 0
    return any(rib.certain or (next_to_last_rib and rib.misfit <= UNSURE_MISFIT) for rib in seen.flanks.ribs)
