"""Destinations: do they accept our AE title, and which of the offered SOP classes?"""

from __future__ import annotations

import socket

from pydicom.uid import UID, EncapsulatedPDFStorage, ImplicitVRLittleEndian, SecondaryCaptureImageStorage

from node.common.commitment import SOP_CLASS as STORAGE_COMMITMENT
from node.common.errors import RejectedError, TransportError
from node.deliver import Part, ask, echo
from node.deliver.deliverer import TRANSFER_SYNTAX
from node.doctor.finding import Finding, Outcome
from node.doctor.storage import CONNECT_S
from node.model.object_kinds import SegKind, sop_class_name
from node.records.destinations import Answer
from node.settings.tree import Destination, PageWanted, Settings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_destinations(settings: Settings) -> tuple[Finding, ...]:
    """One line per destination, from an association that is released at once, and C-ECHO."""
    if not settings.destinations:
        todo = "add the PACS that gets the results as [[destinations]]"
        return (Finding("destination", Outcome.WARNING, "none: results stay in the node", todo),)
    return tuple(_destination(destination, settings) for destination in settings.destinations)


def wanted_classes(destination: Destination) -> dict[Part, tuple[UID, ...]]:
    """SOP classes offered to a destination for each part of a measured study, the best first."""
    segmentation: tuple[UID, ...] = ()
    if destination.segmentation != "none":
        kinds = dict.fromkeys((SegKind(destination.segmentation), SegKind.BINARY))
        segmentation = tuple(kind.sop_class_uid for kind in kinds)
    report = tuple(kind.sop_class_uid for kind in destination.structured_report)
    page = () if destination.summary_page is PageWanted.NEVER else (SecondaryCaptureImageStorage,)
    pdf = (EncapsulatedPDFStorage,) if destination.pdf else ()
    parts = {Part.SEGMENTATION: segmentation, Part.REPORT: report, Part.PAGE: page, Part.PDF: pdf}
    return {part: classes for part, classes in parts.items() if classes}


def _destination(destination: Destination, settings: Settings) -> Finding:
    name = f"destination {destination.name}"
    calling = destination.calling_ae_title or settings.listener.ae_title
    own = (settings.listener.ae_title, settings.listener.port)
    if (destination.ae_title, destination.port) == own and destination.host in _LOOPBACK:
        return Finding(name, Outcome.ERROR, "this is the node itself", "set AE title, host and port of the PACS")
    wanted = wanted_classes(destination)
    timeout_s = min(CONNECT_S, settings.deliver.timeout_s)
    try:
        socket.getaddrinfo(destination.host, destination.port)
    except OSError as error:
        detail = f"the host {destination.host} cannot be resolved ({error.strerror})"
        return Finding(name, Outcome.ERROR, detail, "correct host, or use its IP address")
    try:
        contexts = [(uid, TRANSFER_SYNTAX) for classes in wanted.values() for uid in classes]
        if destination.storage_commitment:
            contexts += [(STORAGE_COMMITMENT, syntax) for syntax in (TRANSFER_SYNTAX, ImplicitVRLittleEndian)]
        answers = ask(contexts, destination, calling, timeout_s) if contexts else ()
    except RejectedError as error:
        todo = f"register {calling} with this machine's address in the PACS; its own AE title must be {destination.ae_title}"
        return Finding(name, Outcome.ERROR, str(error), todo)
    except TransportError as error:
        todo = "start it, correct host and port, or open the firewall; results wait until then"
        return Finding(name, Outcome.ERROR, str(error), todo)
    accepted = {one.sop_class_uid for one in answers if one.answer is Answer.ACCEPTED}
    finding = _judged(name, wanted, accepted, _answers_echo(destination, calling, timeout_s))
    if destination.storage_commitment and STORAGE_COMMITMENT not in accepted and finding.outcome is not Outcome.ERROR:
        todo = "switch on storage commitment there, or set storage_commitment to false for it"
        return Finding(name, Outcome.WARNING, f"{finding.detail}; no storage commitment", todo)
    return finding


def _judged(name: str, wanted: dict[Part, tuple[UID, ...]], accepted: set[str], answers: str) -> Finding:
    taken = {part: next((uid for uid in classes if uid in accepted), None) for part, classes in wanted.items()}
    told = [f"{part} as {sop_class_name(uid)}" for part, uid in taken.items() if uid is not None]
    missing = [
        f"no {part} ({', '.join(sop_class_name(uid) for uid in wanted[part])})" for part, uid in taken.items() if uid is None
    ]
    detail = f"{answers}, accepts {'; '.join([*told, *missing]) or 'nothing, as set'}"
    todo = "let the PACS accept these storage SOP classes, or remove the part from the settings of the destination"
    if not any(uid for part, uid in taken.items() if part is not Part.SEGMENTATION):
        return Finding(name, Outcome.ERROR, f"{detail}: nothing that people can read", todo)
    return Finding(name, Outcome.WARNING, detail, todo) if missing else Finding(name, Outcome.OK, detail)


def _answers_echo(destination: Destination, calling: str, timeout_s: float) -> str:
    """Verification is optional: a destination without it is usable."""
    try:
        echo(destination, calling, timeout_s)
    except (TransportError, RejectedError):
        return "does not offer C-ECHO"
    return "answers C-ECHO"
