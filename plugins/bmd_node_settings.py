"""Section ``BmdNode`` of Orthanc's configuration: what the plugin hands over, to whom, and the retry delays.

Uses only the standard library, because it runs in the Python of Orthanc.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: DICOM tags of a series for rules, in Orthanc's spelling, and Orthanc's metadata of the sender.
TAGS = ("Modality", "SeriesDescription", "ProtocolName", "BodyPartExamined", "Manufacturer", "StationName")
METADATA = ("RemoteAET", "CalledAET")


class ConfigurationError(Exception):
    """The section ``BmdNode`` of Orthanc's configuration is invalid; the message says what to write."""


@dataclass(frozen=True)
class Rule:
    """Condition on a series: each value matches its pattern, with ``*`` and ``?`` as in a DICOM query."""

    patterns: tuple[tuple[str, str], ...]

    @property
    def asks_for_sender(self) -> bool:
        """Whether metadata of an instance is needed."""
        return any(name in METADATA for name, _ in self.patterns)

    def matches(self, values: Mapping[str, str]) -> bool:
        """Whether a series matches; case is ignored, and missing values are empty."""
        return all(fnmatch.fnmatchcase(values.get(name, "").strip(" \0").lower(), p.lower()) for name, p in self.patterns)


@dataclass(frozen=True)
class PluginSettings:
    """Section ``BmdNode`` of Orthanc's configuration."""

    enable: bool = True
    """Hand CT studies over."""

    hand_over: str = "store"
    """``store``: Orthanc sends the images by C-STORE; ``pull``: the node reads them over REST or from shared storage
    (``[orthanc] pull`` in its settings)."""

    modality: str = "bmd-node"
    """Alias of the node in ``DicomModalities``; for ``store``."""

    node_user: str = "bmd-node"
    """Orthanc's user of the node (``orthanc.user`` in its settings): nobody else may report states, or take what is owed.
    Empty: every user may."""

    retry_first_s: float = 5.0
    """Wait after a failed attempt; doubles each time."""

    retry_max_s: float = 120.0
    """Longest wait between attempts; they continue until the node has accepted the study."""

    rules: tuple[Rule, ...] = (Rule((("Modality", "CT"),)),)
    """A series is handed over if one of them matches; the node's own objects never are."""


_SETTINGS = {
    "Enable": "enable",
    "HandOver": "hand_over",
    "Modality": "modality",
    "NodeUser": "node_user",
    "RetryFirstSeconds": "retry_first_s",
    "RetryMaxSeconds": "retry_max_s",
    "Rules": "rules",
}


def read_settings(configuration: Mapping[str, Any]) -> PluginSettings:
    """Read the plugin's section of Orthanc's configuration.

    Raises:
        ConfigurationError: an unknown key, or a wrong value.
    """
    section = configuration.get("BmdNode", {})
    if not isinstance(section, dict):
        raise ConfigurationError('"BmdNode" must be a section: {"Modality": "bmd-node", "Enable": true}')
    values: dict[str, Any] = {}
    for key, value in section.items():
        if key not in _SETTINGS:
            raise ConfigurationError(f'"BmdNode" has no "{key}"; allowed: {", ".join(_SETTINGS)}')
        values[_SETTINGS[key]] = _rules(value) if key == "Rules" else value
        if key == "Enable":
            right = isinstance(value, bool)
        elif key == "Modality":
            right = isinstance(value, str) and value != ""
        elif key == "NodeUser":
            right = isinstance(value, str)
        elif key == "HandOver":
            right = value in ("store", "pull")
        elif key == "Rules":
            right = True
        else:
            # true is a number in Python, but a mistake in a configuration
            right = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
        if not right:
            raise ConfigurationError(f'"BmdNode": "{key}" cannot be {json.dumps(value)}')
    return PluginSettings(**values)


def is_authenticated(configuration: Mapping[str, Any]) -> bool:
    """Whether Orthanc checks logins; by default it does with remote access."""
    wanted = configuration.get("AuthenticationEnabled")
    return bool(configuration.get("RemoteAccessAllowed", False) if wanted is None else wanted)


def _rules(value: Any) -> tuple[Rule, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(rule, dict) and rule for rule in value):
        raise ConfigurationError('"BmdNode": "Rules" must be a list of rules: [{"Modality": "CT", "RemoteAET": "CT_*"}]')
    for rule in value:
        for name, pattern in rule.items():
            if name not in TAGS + METADATA:
                raise ConfigurationError(f'"BmdNode": a rule has no "{name}"; allowed: {", ".join(TAGS + METADATA)}')
            if not isinstance(pattern, str):
                raise ConfigurationError(f'"BmdNode": "{name}" in a rule must be text, not {json.dumps(pattern)}')
    return tuple(Rule(tuple(rule.items())) for rule in value)
