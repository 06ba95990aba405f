"""``bmd-node doctor``: what prevents the node from running with these settings, and what to do.

Creates no database and no directory, and sends only queries: C-ECHO, an association that is released at once, a connection
that is closed at once, HTTP, a greeting to the mail server.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from node.common.errors import ConfigurationError
from node.doctor.alerts import check_alerts
from node.doctor.certificates import check_certificates
from node.doctor.clock import check_clock
from node.doctor.destinations import check_destinations
from node.doctor.equations import check_equations, check_scanners, check_scanners_without_equation
from node.doctor.finding import Finding, Outcome
from node.doctor.network import check_listener, check_status_page, check_way_back
from node.doctor.orthanc import check_dicomweb, check_link, check_orthanc
from node.doctor.plans import check_plans
from node.doctor.running import check_running
from node.doctor.storage import check_database, check_state_directory
from node.doctor.work import check_conflicts, check_segmenter, check_work
from node.settings.tree import Settings, load_settings

__all__ = ["CHECKS", "Finding", "Outcome", "examine"]

#: Checks after the settings are read, in the order of the output.
CHECKS: tuple[Callable[[Settings], tuple[Finding, ...]], ...] = (
    check_segmenter,
    check_equations,
    check_state_directory,
    check_database,
    check_listener,
    check_certificates,
    check_status_page,
    check_running,
    check_work,
    check_conflicts,
    check_destinations,
    check_way_back,
    check_orthanc,
    check_link,
    check_dicomweb,
    check_plans,
    check_alerts,
    check_clock,
    check_scanners,
    check_scanners_without_equation,
)


def examine(config: Path | None) -> tuple[Finding, ...]:
    """Run all checks, in the order in which problems should be fixed. Without readable settings there is only one.

    Args:
        config: settings file, as for :func:`node.settings.tree.load_settings`.
    """
    try:
        settings = load_settings(config)
    except ConfigurationError as error:
        return (Finding("settings", Outcome.ERROR, str(error)),)
    source = config or ("bmd-node.toml" if Path("bmd-node.toml").is_file() else "no file, default values")
    found = Finding("settings", Outcome.OK, str(source))
    renamed = tuple(Finding("names of settings", Outcome.WARNING, warning) for warning in settings.old_names)
    return (found, *renamed, *(finding for check in CHECKS for finding in check(settings)))
