"""Changes a site's file of equations: one entry at a time, everything else stays byte for byte.

The result is checked before it is written: the whole registry must be valid, and all other entries must be unchanged. The
file is then replaced atomically.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Table

from node.calibrate.equation import Equation, Status
from node.calibrate.registry import Registry, registry_of, shipped_equations
from node.common.errors import ConfigurationError
from node.common.files import whole_file

_HEADING = "# HU-to-BMD equations of this site: see docs/calibration.md.\n"


def add_entry(site_file: Path, equation: Equation) -> None:
    """Append an entry to the file, which is created if it does not exist.

    Raises:
        ConfigurationError: the file cannot be read or written, is invalid, or has an entry with this id.
    """
    old = _read(site_file) if site_file.exists() else _HEADING
    before = registry_of(old, str(site_file))
    if any(one.id == equation.id for one in before.equations):
        raise ConfigurationError(f"an entry {equation.id} already exists: give the new one another id with --id")
    new = f"{old}{'' if old.endswith(chr(10)) else chr(10)}\n{entry_text(equation)}"
    _replace(site_file, old, new, before, equation)


def approve_entry(site_file: Path | None, entry_id: str, by: str, on: dt.date) -> Equation:
    """Approve a pending entry.

    Args:
        site_file: the site's own file; ``None`` if the settings name none.
        entry_id: of the entry.
        by: who approves it.
        on: the day of the approval.

    Returns:
        The approved entry.

    Raises:
        ConfigurationError: the site's file has no such pending entry, no name is given, or the registry would have a tie;
            then nothing is changed.
    """
    name = " ".join(by.split())
    if not name:
        raise ConfigurationError("an approval needs the name of the approver: --by NAME")
    if any(one.id == entry_id for one in shipped_equations()):
        raise ConfigurationError(f"{entry_id} is shipped with the node: copy it to the site's file to approve it there")
    if site_file is None:
        raise ConfigurationError("the site has no file of equations: set calibrate.site_equations")
    old = _read(site_file)
    before = registry_of(old, str(site_file))
    entry = next((one for one in before.site if one.id == entry_id), None)
    if entry is None:
        pending = ", ".join(one.id for one in before.site if one.status is Status.PENDING) or "none"
        raise ConfigurationError(f"{site_file} has no entry {entry_id}; pending entries: {pending}")
    if entry.status is not Status.PENDING:
        raise ConfigurationError(f"{entry_id} is {entry.status}; only pending entries can be approved")
    if entry.fit is not None and on < entry.fit.date:
        raise ConfigurationError(f"{entry_id} was fitted on {entry.fit.date}: it cannot have been approved on {on}")
    values = {"status": Status.ACTIVE, "approved_by": name, "approved_on": on}
    approved = Equation.model_validate({**entry.model_dump(exclude_unset=True), **values})
    new = _with_values(old, entry_id, {"status": str(Status.ACTIVE), "approved_by": name, "approved_on": on})
    _replace(site_file, old, new, before, approved)
    return approved


def entry_text(equation: Equation) -> str:
    """An entry as TOML."""
    table = tomlkit.table()
    for name, value in equation.model_dump(exclude_none=True, exclude={"fit"}).items():
        if value != "":
            table.add(name, _plain_value(value))
    if equation.fit is not None:
        fit = tomlkit.table()
        for name, value in equation.fit.model_dump(exclude_none=True).items():
            fit.add(name, _plain_value(value))
        table.add("fit", fit)
    entries = tomlkit.aot()
    entries.append(table)
    document = tomlkit.document()
    document.add("equation", entries)
    return tomlkit.dumps(document)


def _plain_value(value: object) -> object:
    """Without enumerations and tuples, which TOML does not have."""
    if isinstance(value, str):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _with_values(text: str, entry_id: str, values: dict[str, str | dt.date]) -> str:
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise ConfigurationError(f"the file of equations cannot be changed: {error}") from error
    entries = document.get("equation")
    if not isinstance(entries, AoT):
        raise ConfigurationError("the file of equations does not use [[equation]]: approve the entry by hand")
    for table in entries:
        if isinstance(table, Table) and table.get("id") == entry_id:
            for name, value in values.items():
                table[name] = value
    return tomlkit.dumps(document)


def _replace(site_file: Path, old: str, new: str, before: Registry, changed: Equation) -> None:
    """Write ``new`` if its registry differs from ``before`` only in this entry and the file was not changed meanwhile."""
    after = registry_of(new, str(site_file))
    kept = [one for one in before.site if one.id != changed.id]
    if [one for one in after.site if one.id != changed.id] != kept or changed not in after.site:
        raise ConfigurationError(f"{site_file} has a form that cannot be changed safely: edit it by hand")
    target = site_file.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = target.stat().st_mode if target.exists() else None
        with whole_file(target) as file:
            file.write(new.encode())
            os.fchmod(file.fileno(), 0o644 if mode is None else mode & 0o7777)
            if mode is not None and _read(target) != old:
                raise ConfigurationError(f"{site_file} was changed at the same time: run this again")
    except OSError as error:
        raise ConfigurationError(f"{site_file} cannot be written: {error.strerror}") from error


def _read(path: Path) -> str:
    try:
        # keeps line ends
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
