"""Every service has a memory limit, and one that the largest study that its settings allow does not exceed."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from node.settings.tree import Settings, load_settings
from node.worker.compute import limits_of

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
#: The worker beside the process that computes, listener, status page and the others: docs/reliability.md has what they take.
_OTHERS_MB = 2000


def _mb(text: str) -> int:
    found = re.fullmatch(r"(\d+)([KMGkmg]?)i?", text)
    assert found, text
    return int(found[1]) * _UNITS[found[2].lower()] >> 20


def _budget_mb(settings: Settings) -> int:
    """Memory that the node allows the largest study, as the worker computes it."""
    return limits_of(settings.select.max_series_megavoxels * 1_000_000, settings.compute).memory_mb


def _manifests() -> list[dict[str, Any]]:
    texts = [path.read_text(encoding="utf-8") for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


@pytest.mark.parametrize("unit", ["bmd-node.service", "bmd-node-worker.service"])
def test_units_have_room_for_the_largest_study(unit: str) -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.read(DEPLOY / "systemd" / unit, encoding="utf-8")
    service = parser["Service"]
    assert _mb(service["MemoryMax"]) >= _budget_mb(load_settings(DEPLOY / "bmd-node.toml")) + _OTHERS_MB
    # by default systemd stops the whole service when the system ends one process of it for memory
    assert service["OOMPolicy"] == "continue"


def test_the_doctor_has_a_limit() -> None:
    assert "MemoryMax=" in (DEPLOY / "systemd" / "bmd-node-doctor.service").read_text(encoding="utf-8")


def test_compose_has_room_for_the_largest_study() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert {name for name, service in services.items() if "mem_limit" not in service} == set()
    settings = load_settings(DEPLOY / "compose" / "bmd-node.toml")
    assert _mb(services["node"]["mem_limit"]) >= _budget_mb(settings) + _OTHERS_MB


def test_kubernetes_has_room_for_the_largest_study() -> None:
    pods = [one for one in _manifests() if one["kind"] in ("Deployment", "StatefulSet")]
    containers = {c["name"]: c for pod in pods for c in pod["spec"]["template"]["spec"]["containers"]}
    assert {"worker", "listener", "web"} <= set(containers)
    limits = {name: _mb(c["resources"]["limits"]["memory"]) for name, c in containers.items()}
    requests = {name: _mb(c["resources"]["requests"]["memory"]) for name, c in containers.items()}
    assert all(requests[name] <= limits[name] for name in limits)
    assert limits["worker"] >= _budget_mb(load_settings(DEPLOY / "kubernetes" / "bmd-node.toml")) + _OTHERS_MB
