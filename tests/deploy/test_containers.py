"""The files for containers, Kubernetes and Prometheus: valid by the schemas of their own worlds, and true of this node."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from click.testing import CliRunner
from dockerfile_parse import DockerfileParser

from node.cli.main import main
from node.records.conflicts import ConflictRecords
from node.records.runs import RunRecords, RunState
from node.records.work import WorkRecords
from node.settings.orthanc import OrthancSettings
from node.settings.plans import PlanHl7Settings
from node.settings.tree import Settings, load_settings
from node.supervisor import parts_of
from node.web.metrics import ConflictsCollector, WorkCollector, metrics_text
from tests.receive.conftest import postgres_url

__all__ = ["postgres_url"]

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
DOCKERFILES = sorted(DEPLOY.rglob("Dockerfile"))
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")
#: The oldest and the newest that kubernetes-validate and a cluster of today know.
KUBERNETES_VERSIONS = ("1.30.0", "1.34.0")
#: Not of Kubernetes itself: KEDA brings the definition along.
_OF_KEDA = {"ScaledObject", "TriggerAuthentication"}
YAML_RULES = "{extends: default, rules: {line-length: {max: 130}, document-start: disable, braces: {max-spaces-inside: 1}}}"


def tool(name: str) -> str:
    """A linter of ``.[dev]``, beside this Python."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed (.[dev])")
    return found


def quiet(*command: str | Path, **environment: str) -> None:
    """Run a linter that must find nothing."""
    env = {**os.environ, **environment}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_applied_is_there_and_what_needs_settings_is_commented_out() -> None:
    text = (DEPLOY / "kubernetes" / "kustomization.yaml").read_text(encoding="utf-8")
    applied = set(yaml.safe_load(text)["resources"])
    on_demand = set(re.findall(r"^  # - (\S+)$", text, re.MULTILINE))
    assert applied | on_demand == {path.name for path in MANIFESTS}
    assert on_demand == {"puller.yaml", "intake.yaml"}, "they end at once without settings of their own"


@cache
def documents() -> tuple[dict[str, Any], ...]:
    """Every object of Kubernetes."""
    return tuple(one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text(encoding="utf-8")))


def named(kind: str, name: str) -> dict[str, Any]:
    [found] = [one for one in documents() if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pods() -> Iterator[dict[str, Any]]:
    for one in documents():
        if one["kind"] in ("Deployment", "StatefulSet"):
            yield one["spec"]["template"]


def test_linters_find_nothing() -> None:
    quiet(tool("hadolint"), *DOCKERFILES)
    quiet(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    quiet(tool("yamllint"), "--strict", "-d", YAML_RULES, *sorted(DEPLOY.rglob("*.y*ml")))


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_takes_the_manifests(version: str) -> None:
    quiet(tool("kubernetes-validate"), "--strict", "-k", version, *(m for m in MANIFESTS if m.name != "scaling.yaml"))


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_what_is_copied_into_an_image_is_there(dockerfile: Path) -> None:
    steps = DockerfileParser(path=str(dockerfile), cache_content=True).structure
    copied = [step["value"].split() for step in steps if step["instruction"] == "COPY" and "--from" not in step["value"]]
    assert copied
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    for *sources, _ in copied:
        for source in sources:
            assert (REPOSITORY / source).exists(), source
            assert dockerfile != DEPLOY / "Dockerfile" or source in allowed
    users = [step["value"] for step in steps if step["instruction"] == "USER"]
    assert users, "not root"
    assert users[-1].split(":")[0] not in ("root", "0")
    assert any(step["instruction"] == "HEALTHCHECK" for step in steps)


def test_the_image_starts_commands_that_exist() -> None:
    steps = DockerfileParser(path=str(DEPLOY / "Dockerfile"), cache_content=True).structure
    last = {step["instruction"]: step["value"] for step in steps}
    entry, command = json.loads(last["ENTRYPOINT"]), json.loads(last["CMD"])
    health = json.loads(last["HEALTHCHECK"].partition("CMD ")[2])
    asked = [command, health[1:]]
    for pod in pods():
        for container in pod["spec"]["containers"]:
            if container["image"] == "bmd-node":
                asked.append(container["args"])
                probes = [container.get(f"{kind}Probe", {}) for kind in ("startup", "readiness", "liveness")]
                asked += [probe["exec"]["command"][1:] for probe in probes if "exec" in probe]
    assert entry == ["bmd-node"] == health[:1]
    assert ["health", "worker"] in asked
    for arguments in asked:
        result = CliRunner().invoke(main, [*arguments, "--help"])
        assert result.exit_code == 0, arguments


@pytest.mark.parametrize("file", ["compose/bmd-node.toml", "kubernetes/bmd-node.toml"])
def test_settings_load_and_take_their_secrets_from_files(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(DEPLOY / file)
    url = sa.engine.make_url(settings.database_url or "")
    assert (url.get_backend_name(), url.password) == ("postgresql", None)
    # without the file nothing starts, and the message says which one
    monkeypatch.setenv("BMD_NODE_CONFIG", str(DEPLOY / file))
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 2
    assert f"database_password_file: {settings.database_password_file} cannot be read" in result.output


def test_no_password_stands_anywhere() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or value.startswith("/run/secrets/"), name
    assert {Path(secret["file"]).parent.name for secret in compose["secrets"].values()} == {"secrets"}
    assert subprocess.run(["git", "check-ignore", "deploy/secrets/x"], cwd=REPOSITORY, check=False).returncode == 0
    assert all(one["kind"] != "Secret" for one in documents())


def test_every_pod_is_confined_and_probed() -> None:
    """What the Pod Security Standard "restricted" asks for, which the namespace enforces."""
    assert named("Namespace", "bmd-node")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods():
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"]["type"] == "RuntimeDefault"
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "livenessProbe" in container
            assert "memory" in container["resources"]["limits"]


def test_listener_workers_and_page_share_one_state() -> None:
    parts = {pod["metadata"]["labels"]["app"]: pod["spec"] for pod in pods()}
    assert set(parts) == {"listener", "worker", "web", "puller", "intake", "postgres"}
    state_dir = str(load_settings(DEPLOY / "kubernetes" / "bmd-node.toml").state_dir)
    everything = Settings(
        orthanc=OrthancSettings(url="http://orthanc:8042", pull=True), plans_hl7=PlanHl7Settings(enabled=True)
    )
    assert set(parts_of(everything)) == set(parts) - {"postgres"}, "what `serve` runs on one machine, each as its own part"
    [reached] = named("NetworkPolicy", "database-from-inside")["spec"]["ingress"][0]["from"][0]["podSelector"][
        "matchExpressions"
    ]
    assert set(reached["values"]) == set(parts_of(everything))
    for name in parts_of(everything):
        [container] = parts[name]["containers"]
        assert container["args"] == [name]
        assert state_dir in [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "state"]
        assert {"name": "state", "persistentVolumeClaim": {"claimName": "state"}} in parts[name]["volumes"]
    assert named("PersistentVolumeClaim", "state")["spec"]["accessModes"] == ["ReadWriteMany"]
    assert named("Deployment", "listener")["spec"]["replicas"] == 1, "it locks the state directory"
    names = [one["name"] for one in parts["worker"]["containers"][0]["env"]]
    assert "BMD_NODE_WORKER_ID" in names, "each worker has a name of its own"


def test_workers_scale_on_what_the_database_says(postgres_url: str, tmp_path: Path) -> None:
    scaled = named("ScaledObject", "worker")["spec"]
    assert named(scaled["scaleTargetRef"]["kind"], scaled["scaleTargetRef"]["name"])
    [trigger] = scaled["triggers"]
    assert trigger["type"] == "postgresql"
    assert named("TriggerAuthentication", trigger["authenticationRef"]["name"])
    metadata = trigger["metadata"]
    assert all(isinstance(value, str) for value in metadata.values()), "KEDA takes text only"
    url = sa.engine.make_url(load_settings(DEPLOY / "kubernetes" / "bmd-node.toml").database_url or "")
    asked = (metadata["userName"], metadata["dbName"], metadata["host"].split(".")[0])
    assert asked == (url.username, url.database, url.host)
    assert scaled["minReplicaCount"] >= 1, "a worker also finds out that a study is complete"

    records = RunRecords.open(Settings(state_dir=tmp_path, database_url=postgres_url))
    for n, state in enumerate([None, None, RunState.MEASURED, RunState.FAILED]):
        records.queued(f"scaling-{n}", f"2.25.{n}", tmp_path)
        if state is not None:
            records.finished(f"scaling-{n}", state, "")
    records.at_step("scaling-1", "segment")
    with sa.create_engine(postgres_url).connect() as connection:
        assert connection.execute(sa.text(metadata["query"])).scalar_one() == 2, "one that waits and one that runs"


def test_dashboard_and_alarms_name_metrics_that_the_node_exposes(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    work = WorkCollector(WorkRecords.open(settings), tmp_path)
    conflicts = ConflictsCollector(ConflictRecords.open(settings))
    text = metrics_text(RunRecords.open(settings), work, conflicts).decode()
    exposed = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    states = {name: set(re.findall(rf'^{name}{{state="(\w+)"}}', text, re.MULTILINE)) for name in exposed}
    dashboard = json.loads((DEPLOY / "grafana" / "bmd-node.json").read_text(encoding="utf-8"))
    alarms = yaml.safe_load((DEPLOY / "prometheus" / "alarms.yml").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for group in alarms["groups"] for rule in group["rules"]]
    found = [use for expr in asked for use in re.findall(r'(bmd_node_\w+)(?:{state=~?"([\w|]+)"})?', expr)]
    assert {name for name, _ in found} == exposed, "everything that is exposed is shown, and nothing else"
    for name, wanted in found:
        assert bool(wanted) == bool(states[name]), (name, "names its states if it has some")
        assert set(wanted.split("|")) <= states[name] | {""}, (name, wanted)


def start_orthanc(tmp_path: Path, users: str) -> subprocess.CompletedProcess[str]:
    """Run the start of the container, with a program in Orthanc's place that shows what it is given."""
    shown = tmp_path / "bin" / "Orthanc"
    shown.parent.mkdir(exist_ok=True)
    shown.write_text('#!/bin/sh\nstat -c %a "$1"\ncat "$1"\n')
    shown.chmod(0o755)
    return subprocess.run(
        [sys.executable, str(DEPLOY / "orthanc" / "start.py")],
        env={
            "PATH": f"{shown.parent}:/usr/bin:/bin",
            "TMPDIR": str(tmp_path),
            "ORTHANC_JSON": str(REPOSITORY / "orthanc.json"),
            "ORTHANC_USERS": users,
            "BMD_NODE_HOST": "node",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_orthanc_in_its_container_has_users_from_files_or_does_not_start(tmp_path: Path) -> None:
    good, short, same = tmp_path / "good", tmp_path / "short", tmp_path / "same"
    good.write_text("3f9c1d5e7a9b0c2d4e6f\n")
    short.write_text("orthanc")
    same.write_text("admin-admin-admin")
    refusals = {
        "": "names nobody",
        "admin": "must be name:file",
        f"admin:{tmp_path / 'none'}": "cannot be read (No such file or directory)",
        f"admin:{short}": "12 characters or more",
        f"admin:{same}": "without the name admin",
    }
    for users, words in refusals.items():
        done = start_orthanc(tmp_path, users)
        assert done.returncode == 1, users
        assert words in done.stderr
        assert done.stdout == ""
    done = start_orthanc(tmp_path, f"admin:{good}")
    assert done.returncode == 0, done.stderr
    mode, _, text = done.stdout.partition("\n")
    given = json.loads(text)
    assert mode == "600"
    assert given["RegisteredUsers"] == {"admin": "3f9c1d5e7a9b0c2d4e6f"}
    assert (given["RemoteAccessAllowed"], given["AuthenticationEnabled"]) == (True, True)
    assert given["DicomModalities"]["bmd-node"]["Host"] == "node"
