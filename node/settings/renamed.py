"""Names of settings from version 0.1.0 that have a new name: still read in this version, with a warning.

A setting with a new name needs an entry in :data:`RENAMED`, and nothing else. The sections that configured one receiver of
alerts each are entries of ``[[alert_receivers]]`` now.

The environment goes before the file here as well: an old name in the environment overrides a new one in the file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from node.common.errors import ConfigurationError
from node.settings.alert import FhirReceiver, Hl7Receiver, WebhookReceiver

log = logging.getLogger(__name__)

ENV_PREFIX = "BMD_NODE_"
ENV_DELIMITER = "__"

#: Old name and new name, each ``section.setting``.
RENAMED = {
    "listener.calling_ae_titles": "listener.allowed_calling_ae_titles",
    "study.quiet_s": "study.stable_after_s",
    "study.quiet_after_release_s": "study.stable_after_release_s",
}
#: Kind and stage of the receiver that an old section configured, and the setting that switched it on. Its name is the one
#: that the records of version 0.1.0 hold: with another name, alerts that were sent before would be sent again.
_RECEIVERS = {
    "alert_hl7": ("hl7", "first", "host"),
    "alert_fhir": ("fhir", "first", "base_url"),
    "alert_webhook": ("webhook", "first", "url"),
    "alert_second_hl7": ("hl7", "second", "host"),
    "alert_second_fhir": ("fhir", "second", "base_url"),
    "alert_second_webhook": ("webhook", "second", "url"),
}
_LIST = "alert_receivers"

#: Warnings on the settings that were read last, which nobody has seen yet.
_unsaid: list[str] = []


class _OldSections(BaseSettings):
    """The old sections, so that pydantic-settings finds their values in the environment."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_DELIMITER, extra="ignore")

    alert_hl7: Hl7Receiver | None = None
    alert_fhir: FhirReceiver | None = None
    alert_webhook: WebhookReceiver | None = None
    alert_second_hl7: Hl7Receiver | None = None
    alert_second_fhir: FhirReceiver | None = None
    alert_second_webhook: WebhookReceiver | None = None


def with_new_names(values: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values of a settings file, and of old sections in the environment, under their new names.

    Args:
        values: as the file has them.
        environment: its variables; single settings with an old name are renamed by :func:`with_new_variables` instead.

    Returns:
        The values, and a warning for every old name in use.

    Raises:
        ConfigurationError: the old and the new name are both set, in the file or in the environment.
    """
    warnings = []
    new = dict(values)
    variables = {name.upper() for name in environment}
    for before, now in RENAMED.items():
        section, old_key = before.split(".")
        new_key = now.split(".")[1]
        found = new.get(section)
        if isinstance(found, dict) and old_key in found:
            if new_key in found:
                raise ConfigurationError(f"{before} and {now} are both set: keep {now}, and remove {before}")
            new[section] = {new_key if key == old_key else key: value for key, value in found.items()}
            warnings.append(_warning(before, now))
        old_variable, new_variable = _variable(before), _variable(now)
        if old_variable in variables:
            if new_variable in variables:
                raise ConfigurationError(
                    f"{old_variable} and {new_variable} are both set: keep {new_variable}, and remove {old_variable}"
                )
            warnings.append(_warning(old_variable, new_variable))
    new, of_receivers = _with_receivers(new, variables)
    return new, (*warnings, *of_receivers)


def with_new_variables(variables: Mapping[str, str | None]) -> dict[str, str | None]:
    """Variables of the environment, in small letters, with the new names of single settings."""
    new = {_variable(before).lower(): _variable(now).lower() for before, now in RENAMED.items()}
    return {new.get(name, name): value for name, value in variables.items()}


def remember(warnings: tuple[str, ...]) -> None:
    """Keep the warnings until there is a log: settings are read before it is set up."""
    _unsaid[:] = warnings


def say_remembered(say: Callable[[str], object] = log.warning) -> None:
    """Say the warnings that nobody has seen yet."""
    while _unsaid:
        say(_unsaid.pop(0))


def _with_receivers(values: dict[str, Any], variables: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """The values with an entry of ``alert_receivers`` in place of each old section that is switched on, and warnings."""
    in_environment = EnvSettingsSource(_OldSections)()
    old, warnings = [], []
    for section, (kind, stage, address) in _RECEIVERS.items():
        if section not in values and section not in in_environment:
            continue
        variable = f"{_variable(section)}{ENV_DELIMITER}…"
        used = [f"[{section}]"] if section in values else []
        used += [variable] if section in in_environment else []
        in_file = values.pop(section, {})
        if not isinstance(in_file, dict):
            raise ConfigurationError(f"{section} must be a section")
        name = section.removeprefix("alert_")
        kept = [one for one in _entries(values) if isinstance(one, dict) and one.get("name") == name]
        if kept:
            raise ConfigurationError(
                f'{" and ".join(used)} and an entry of [[{_LIST}]] with name = "{name}" are both set: keep the entry, and '
                f"remove {' and '.join(used)}"
            )
        found = _merged(in_file, in_environment.get(section, {}))
        if not found.get(address):
            warnings.append(
                f"{' and '.join(used)} without {address} has no effect: remove it; the next version does not know it"
            )
            continue
        old.append({**found, "kind": kind, "name": name, "stage": stage})
        warnings.append(
            f'{" and ".join(used)} is now an entry of [[{_LIST}]] with kind = "{kind}", name = "{name}", stage = "{stage}" '
            "and the same settings: move it there; with another name, alerts that were sent before would be sent again; "
            "the next version does not read the old section"
        )
    if old and _variable(_LIST) in variables:
        raise ConfigurationError(
            f"{_variable(_LIST)} and an old section of a receiver are both set: keep {_variable(_LIST)}, and move there "
            "what the section configures"
        )
    return (values | {_LIST: [*old, *_entries(values)]} if old else values), warnings


def _entries(values: Mapping[str, Any]) -> list[Any]:
    entries = values.get(_LIST, [])
    return entries if isinstance(entries, list) else [entries]


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _variable(name: str) -> str:
    return ENV_PREFIX + name.replace(".", ENV_DELIMITER).upper()


def _warning(before: str, now: str) -> str:
    return f"{before} is called {now} now: rename it; the next version does not read the old name"
