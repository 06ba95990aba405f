"""Sources of planned operations: HL7 port, watched folder, FHIR server, and the intake process."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

from node.common.errors import ConfigurationError
from node.doctor.fhir import check_fhir
from node.doctor.finding import Finding, Outcome
from node.doctor.health import health
from node.doctor.network import cannot_listen, why_not_bound
from node.plans import is_switched_on
from node.plans.mllp import tls_context
from node.settings.tree import Settings

_NAME = "planned operations"


def check_plans(settings: Settings) -> tuple[Finding, ...]:
    """One line for each enabled source, and one for the intake."""
    if not is_switched_on(settings):
        return (Finding(_NAME, Outcome.OK, "switched off: operations are known from image headers only"),)
    return tuple(_ways(settings))


def _ways(settings: Settings) -> Iterator[Finding]:
    [intake] = health(settings, ("intake",))
    is_alive = intake.outcome is Outcome.OK
    todo = "" if is_alive else "start it: bmd-node serve, or bmd-node intake"
    yield Finding(f"{_NAME}, intake", Outcome.OK if is_alive else Outcome.WARNING, intake.detail, todo)
    if settings.plans_hl7.enabled:
        yield _hl7(settings, is_alive=is_alive)
    if settings.plans_list.folder:
        yield _folder(Path(settings.plans_list.folder))
    if base_url := settings.plans_fhir.base_url:
        files = settings.plans_fhir.token_file, settings.plans_fhir.ca_file
        yield check_fhir(f"{_NAME} by FHIR", "plans_fhir", base_url, *files)
    if settings.plans_fhir.hook_port:
        host, port = settings.plans_fhir.hook_host, settings.plans_fhir.hook_port
        yield _port(f"{_NAME}, FHIR notifications", "plans_fhir.hook", host, port, is_alive=is_alive)


def _hl7(settings: Settings, *, is_alive: bool) -> Finding:
    name, listener = f"{_NAME} by HL7", settings.plans_hl7
    try:
        tls_context(listener)
    except ConfigurationError as error:
        return Finding(name, Outcome.ERROR, str(error))
    return _port(name, "plans_hl7", listener.host, listener.port, is_alive=is_alive)


def _port(name: str, section: str, host: str, port: int, *, is_alive: bool) -> Finding:
    """Sends nothing to the port: the listener would take it for a message."""
    problem = why_not_bound(host, port)
    if problem is None:
        if is_alive:
            detail = f"{host}:{port} is free: the intake is running, but with another port or on another machine"
            return Finding(name, Outcome.WARNING, detail, "restart it with these settings, if it runs on this machine")
        return Finding(name, Outcome.OK, f"{host}:{port} is free; the intake is not running on this machine")
    if problem != errno.EADDRINUSE:
        return cannot_listen(name, section, host, port, problem)
    if is_alive:
        return Finding(name, Outcome.OK, f"{host}:{port} is in use by the running intake")
    todo = f"stop the other program, or set another port in [{section.partition('.')[0]}]"
    return Finding(name, Outcome.ERROR, f"{host}:{port} is in use, but not by an intake of this node", todo)


def _folder(folder: Path) -> Finding:
    name = f"{_NAME}, theatre lists"
    try:
        with tempfile.TemporaryFile(dir=folder):
            refused = (folder / "refused").iterdir() if (folder / "refused").is_dir() else ()
            # each list has a second file with the reasons
            n_refused = sum(file.suffix != ".errors" for file in refused)
    except OSError as error:
        todo = "create it, and give the node's user write permission: the node moves files within it"
        return Finding(name, Outcome.ERROR, f"{folder} cannot be used ({error.strerror})", todo)
    if n_refused:
        todo = "see bmd-node plans --refused for the reasons, fix the lists, and delete them there"
        return Finding(name, Outcome.WARNING, f"{folder}: {n_refused} files could not be read", todo)
    return Finding(name, Outcome.OK, f"{folder} can be read and written")
