"""Writes ``deploy/bmd-node.toml`` from the settings and their descriptions, so that there is one place to describe them.

Run ``python tests/deploy/example_settings.py`` after a change of ``node/settings``.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from node.settings.tree import Settings

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "bmd-node.toml"

_HEAD = """\
# Settings of bmd-node, all of them, with the values that hold if nothing is set; state_dir is that of the service
# (docs/administration.md), for which a command that you run by hand must look, too.
# What is commented out has no value of its own; remove the # before it to set it.
# A variable of the environment goes before this file: BMD_NODE_LISTENER__PORT=11113 for port in [listener].
"""
#: What a setting without a default could look like.
_EXAMPLES = {
    "state_dir": "/var/lib/bmd-node",
    "database_url": "postgresql+psycopg://bmd-node@db.example.org/bmd-node",
    "database_password_file": "bmd-node_database-password",
    "orthanc.password_file": "bmd-node_orthanc-password",
    "dicomweb.password_file": "/etc/bmd-node/dicomweb-password",
    "orthanc.storage_dir": "/var/lib/orthanc/db-v6",
    "segment.totalsegmentator_weights": "/srv/totalsegmentator",
    "calibrate.site_equations": "/etc/bmd-node/equations.toml",
    "calibrate.simultaneous": "QRM-BDC-3",
    "alert.quiet_from": "20:00:00",
    "alert.quiet_until": "06:00:00",
    "alert.hu_below": 100,
    "senders.ae_title": "CT1",
    "destinations.name": "pacs",
    "destinations.ae_title": "ORTHANC",
    "destinations.host": "127.0.0.1",
    "destinations.port": 4242,
    "destinations.calling_ae_title": "BMDNODE",
    "alert_receivers.hl7.name": "engine",
    "alert_receivers.hl7.host": "engine.hospital.example",
    "alert_receivers.fhir.name": "kis",
    "alert_receivers.fhir.base_url": "https://kis.hospital.example/fhir",
    "alert_receivers.fhir.patient_system": "urn:oid:1.2.276.0.76.3.1.99",
    "alert_receivers.webhook.name": "pager",
    "alert_receivers.webhook.url": "https://pager.hospital.example/alerts",
    "alert_receivers.webhook.secret_file": "/etc/bmd-node/pager-secret",
}


def example_text() -> str:
    """The whole file."""
    keys, tables = [_HEAD], []
    for name, field in Settings.model_fields.items():
        sections = _sections_of(field.annotation)
        if not sections:
            keys.append(_key(name, name, field))
        elif get_origin(field.annotation) is tuple:
            # entries of several kinds are told apart by the value of "kind"
            paths = [name] if len(sections) == 1 else [f"{name}.{one.model_fields['kind'].default}" for one in sections]
            tables += [_table(f"[[{name}]]", path, one, commented=True) for path, one in zip(paths, sections, strict=True)]
        else:
            tables.append(_table(f"[{name}]", name, sections[0], commented=False))
    return "\n".join([*keys, *tables])


def _sections_of(annotation: object) -> list[type[BaseModel]]:
    """The model behind a section, or the models behind the entries of a list of sections."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for kind in get_args(annotation) for model in _sections_of(kind)]


def _table(header: str, name: str, section: type[BaseModel], *, commented: bool) -> str:
    mark = "#" if commented else ""
    lines = [_comment(section.__doc__), f"{mark}{header}\n\n"]
    # the kind of an entry says what the others are
    for key, field in sorted(section.model_fields.items(), key=lambda item: item[0] != "kind"):
        lines.append(_key(key, f"{name}.{key}", field, commented=commented) + "\n")
    return "".join(lines).rstrip("\n") + "\n"


def _key(key: str, path: str, field: FieldInfo, *, commented: bool = False) -> str:
    value = field.get_default(call_default_factory=True) if not field.is_required() else None
    value = _EXAMPLES.get(path, value)
    assert value is not None, f"{path} needs an example in this file"
    mark = "#" if commented or field.is_required() or field.default is None else ""
    # every value we have is written in TOML as it is in JSON
    return f"{_comment(field.description)}{mark}{key} = {json.dumps(value, default=str, ensure_ascii=False)}\n"


def _comment(text: str | None) -> str:
    assert text, "every setting and section has a description"
    words = " ".join(text.replace("``", "").split())
    return "".join(f"# {line}\n" for line in textwrap.wrap(words, 110))


if __name__ == "__main__":
    EXAMPLE.write_text(example_text(), encoding="utf-8")
