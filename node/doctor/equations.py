"""The equations, and the known scanners."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import sqlalchemy as sa

from node.calibrate import Registry, load_registry
from node.common.errors import ConfigurationError
from node.doctor.finding import Finding, Outcome
from node.doctor.storage import has_records
from node.model import Orientation, SeriesFacts
from node.model.calibration_phantoms import named_phantom
from node.records.scans import Scan, ScanRecords
from node.scanners.stability import scanner_name, scanner_trends
from node.settings.tree import Settings

#: Not in the record of a scan, or different between scans of the same scanner.
_NOT_OF_THE_SCANNER = frozenset({"no_equation_for_kernel", "no_equation_for_phase"})
_NO_DATABASE = "not known, the database does not answer"


def check_equations(settings: Settings) -> tuple[Finding, ...]:
    """Whether the equations can be read, and which need a person."""
    try:
        registry = load_registry(settings.calibrate.site_equations)
        beneath = named_phantom(settings.calibrate.simultaneous)
    except ConfigurationError as error:
        return (Finding("equations", Outcome.ERROR, str(error)),)
    own = settings.calibrate.site_equations
    pending, expired = registry.pending(), registry.expired(datetime.now().astimezone().date())
    parts = [f"{len(registry.equations)}", f"with those of {own}" if own else "as shipped"]
    parts += [f"{len(found)} {word}" for found, word in ((pending, "pending"), (expired, "expired")) if found]
    if beneath is not None:
        parts.append(f"rods of {beneath.title} beneath the patient take precedence")
    todo = []
    if unapproved := registry.unapproved():
        names = ", ".join(equation.id for equation in unapproved)
        todo.append(f"no approver is named for {names}: set approved_by and approved_on")
    if expired:
        names = ", ".join(equation.id for equation in expired)
        todo.append(f"new CTs no longer get {names}: calibrate again and add the new fit")
    todo += [f"{equation.id}: {doubt}" for equation in registry.equations for doubt in equation.doubts]
    outcome = Outcome.WARNING if todo else Outcome.OK
    return (Finding("equations", outcome, ", ".join(parts), "; ".join(todo)),)


def check_scanners(settings: Settings) -> tuple[Finding, ...]:
    """Whether the readings of a scanner drift; does not create a database."""
    name = "scanners"
    scans = _scans(settings)
    if isinstance(scans, str):
        return (Finding(name, Outcome.ERROR, scans),)
    found = scanner_trends(scans, settings.stability)
    drifting = [f"{scanner_name(one.scanner)}: {', '.join(one.drifts)}" for one in found if one.drifts]
    if drifting:
        todo = "see bmd-node stability --out DIR, check the scanner, calibrate again"
        return (Finding(name, Outcome.WARNING, "; ".join(drifting), todo),)
    detail = f"{len(found)} with scans, none drifts" if found else "no scan is known yet"
    return (Finding(name, Outcome.OK, detail),)


def check_scanners_without_equation(settings: Settings) -> tuple[Finding, ...]:
    """Known scanners that get HU but no BMD, one line each."""
    name = "scanner without equation"
    if settings.calibrate.simultaneous is not None:
        return ()  # the rods beneath each patient replace an entry
    scans = _scans(settings)
    try:
        registry = load_registry(settings.calibrate.site_equations)
    except ConfigurationError:
        return ()  # reported by check_equations
    if isinstance(scans, str):
        return ()  # reported by check_scanners
    of_scanner = Counter(scan.scanner for scan in scans)
    with_equation = {scan.scanner for scan in scans if _gets_an_equation(registry, scan)}
    todo = "its studies get HU and no BMD: calibrate it (docs/calibration.md)"
    return tuple(
        Finding(name, Outcome.WARNING, f"{scanner_name(scanner)}, {n} scans", todo)
        for scanner, n in of_scanner.most_common()
        if scanner not in with_equation
    )


def _scans(settings: Settings) -> tuple[Scan, ...] | str:
    """The known scans, or why they cannot be read."""
    if not has_records(settings):
        return ()
    try:
        return ScanRecords.open(settings).scans()
    except ConfigurationError as error:
        return str(error)
    except sa.exc.SQLAlchemyError as error:
        return f"{_NO_DATABASE} ({type(error).__name__})"


def _gets_an_equation(registry: Registry, scan: Scan) -> bool:
    """Whether an entry fits, or would fit with another kernel or contrast phase."""
    scanner = scan.scanner
    facts = SeriesFacts(
        study_instance_uid=scan.study_instance_uid,
        series_instance_uid="",
        frame_of_reference_uid=None,
        manufacturer=scanner.manufacturer,
        manufacturer_model_name=scanner.manufacturer_model_name,
        kvp=scanner.kvp,
        convolution_kernel=None,
        slice_thickness_mm=None,
        spacing_mm=(1.0, 1.0, 1.0),
        orientation=Orientation.AXIAL,
        device_serial_number=scanner.device_serial_number,
        station_name=scanner.station_name,
        acquisition_date=scan.acquisition_date,
    )
    return any({reason.code for reason in one.reasons} <= _NOT_OF_THE_SCANNER for one in registry.verdicts(facts))
