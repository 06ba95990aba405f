"""Section ``BmdNode`` of Orthanc's configuration: what the plugin hands over, to whom, and how patiently.

Needs the standard library only: it runs in the Python of whatever Orthanc loads it.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: DICOM tags of a series that a rule may ask for, as Orthanc spells them, and what Orthanc knows of the sender.
TAGS = ("Modality", "SeriesDescription", "ProtocolName", "BodyPartExamined", "Manufacturer", "StationName")
METADATA = ("RemoteAET", "CalledAET")


class ConfigurationError(Exception):
    """The section ``BmdNode`` of Orthanc's configuration is wrong; the message says what to write."""


@dataclass(frozen=True)
class Rule:
    """What a series must be like: each named value matches its pattern, with ``*`` and ``?`` as in a DICOM query."""

    patterns: tuple[tuple[str, str], ...]

    @property
    def asks_for_sender(self) -> bool:
        """Whether the metadata of an instance are needed."""
        return any(name in METADATA for name, _ in self.patterns)

    def matches(self, values: Mapping[str, str]) -> bool:
        """Whether a series is meant; upper and lower case are the same, a value that is missing is empty."""
        return all(fnmatch.fnmatchcase(values.get(name, "").strip(" \0").lower(), p.lower()) for name, p in self.patterns)


@dataclass(frozen=True)
class PluginSettings:
    """Section ``BmdNode`` of Orthanc's configuration."""

    enable: bool = True
    """Hand CT studies over."""

    hand_over: str = "store"
    """``store``: Orthanc sends the images by C-STORE; ``pull``: the node reads them here, over REST or from the storage that
    both see (``[orthanc] pull`` in its own settings)."""

    modality: str = "bmd-node"
    """Alias of the node in ``DicomModalities``; for ``store``."""

    retry_first_s: float = 5.0
    """Wait after a failed attempt; doubles each time."""

    retry_max_s: float = 120.0
    """Longest wait between attempts; attempts go on until the node has taken the study."""

    rules: tuple[Rule, ...] = (Rule((("Modality", "CT"),)),)
    """A series is handed over if one of them matches; what the node made itself never is."""


_SETTINGS = {
    "Enable": "enable",
    "HandOver": "hand_over",
    "Modality": "modality",
    "RetryFirstSeconds": "retry_first_s",
    "RetryMaxSeconds": "retry_max_s",
    "Rules": "rules",
}


def read_settings(configuration: Mapping[str, Any]) -> PluginSettings:
    """Take the plugin's section out of Orthanc's configuration.

    Raises:
        ConfigurationError: an unknown key, or a wrong value.
    """
    section = configuration.get("BmdNode", {})
    if not isinstance(section, dict):
        raise ConfigurationError('"BmdNode" must be a section: {"Modality": "bmd-node", "Enable": true}')
    values: dict[str, Any] = {}
    for key, value in section.items():
        if key not in _SETTINGS:
            raise ConfigurationError(f'"BmdNode" knows no "{key}", only {", ".join(_SETTINGS)}')
        values[_SETTINGS[key]] = _rules(value) if key == "Rules" else value
        if key == "Enable":
            right = isinstance(value, bool)
        elif key == "Modality":
            right = isinstance(value, str) and value != ""
        elif key == "HandOver":
            right = value in ("store", "pull")
        elif key == "Rules":
            right = True
        else:
            # in Python true is a number, in a configuration it is a mistake
            right = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
        if not right:
            raise ConfigurationError(f'"BmdNode": "{key}" cannot be {json.dumps(value)}')
    return PluginSettings(**values)


def _rules(value: Any) -> tuple[Rule, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(rule, dict) and rule for rule in value):
        raise ConfigurationError('"BmdNode": "Rules" is a list of rules: [{"Modality": "CT", "RemoteAET": "CT_*"}]')
    for rule in value:
        for name, pattern in rule.items():
            if name not in TAGS + METADATA:
                raise ConfigurationError(f'"BmdNode": a rule knows no "{name}", only {", ".join(TAGS + METADATA)}')
            if not isinstance(pattern, str):
                raise ConfigurationError(f'"BmdNode": in a rule "{name}" is text, not {json.dumps(pattern)}')
    return tuple(Rule(tuple(rule.items())) for rule in value)
