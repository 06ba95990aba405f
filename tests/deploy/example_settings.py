"""Writes ``deploy/bmd-node.toml`` from the settings and their descriptions, so that there is one place to describe them.

Run ``python tests/deploy/example_settings.py`` after a change of ``node/settings/tree.py``.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from node.settings.tree import Destination, Settings

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "bmd-node.toml"

_HEAD = """\
# Settings of bmd-node, all of them, with the values that hold if nothing is set.
# What is commented out has no value of its own; remove the # before it to set it.
# A variable of the environment goes before this file: BMD_NODE_LISTENER__PORT=11113 for port in [listener].
"""
#: What a setting without a default could look like.
_EXAMPLES = {
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
    "destinations.name": "pacs",
    "destinations.ae_title": "ORTHANC",
    "destinations.host": "127.0.0.1",
    "destinations.port": 4242,
    "destinations.calling_ae_title": "BMDNODE",
}


def example_text() -> str:
    """The whole file."""
    keys, tables = [_HEAD], []
    for name, field in Settings.model_fields.items():
        section = _section_of(field)
        if section is None:
            keys.append(_key(name, name, field))
        elif section is Destination:
            tables.append(_table(f"[[{name}]]", name, section, commented=True))
        else:
            tables.append(_table(f"[{name}]", name, section, commented=False))
    return "\n".join([*keys, *tables])


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model behind a section, or behind the entries of a list of sections."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _table(header: str, name: str, section: type[BaseModel], *, commented: bool) -> str:
    mark = "#" if commented else ""
    lines = [_comment(section.__doc__), f"{mark}{header}\n\n"]
    for key, field in section.model_fields.items():
        lines.append(_key(key, f"{name}.{key}", field, commented=commented) + "\n")
    return "".join(lines).rstrip("\n") + "\n"


def _key(key: str, path: str, field: FieldInfo, *, commented: bool = False) -> str:
    value = field.get_default(call_default_factory=True) if not field.is_required() else None
    value = _EXAMPLES.get(path) if value is None else value
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
