"""Whether the node runs."""

from __future__ import annotations

from node.doctor.finding import Finding, Outcome
from node.doctor.health import health
from node.doctor.storage import has_records
from node.settings.tree import Settings


def check_running(settings: Settings) -> tuple[Finding, ...]:
    """Whether the parts of a node that has run before are alive. Further machines may run only some of them."""
    name = "running"
    if not has_records(settings):
        return ()
    found = health(settings, ())
    down = [one for one in found if one.outcome is Outcome.ERROR]
    detail = "; ".join(f"{one.check}: {one.detail}" for one in down)
    if len(down) == len(found):
        todo = "start it: systemctl start bmd-node, or bmd-node serve"
        return (Finding(name, Outcome.ERROR, f"the node does not run here ({detail})", todo),)
    if down:
        todo = "if they should run on this machine, see the log: journalctl -u bmd-node"
        return (Finding(name, Outcome.WARNING, f"not alive here: {detail}", todo),)
    return (Finding(name, Outcome.OK, f"alive: {', '.join(one.check for one in found)}"),)
