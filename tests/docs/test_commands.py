"""Every command in the documentation: those marked ``sh run`` run here, of the others the test says what it can check.

``bmd-node`` commands are all parsed by the command line itself. The rest (apt-get, systemctl, docker, kubectl, promtool)
changes machines or asks for engines that are not here: checked are the shell's grammar, and that the files, units and
targets that are named exist.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import sqlalchemy as sa

from node.records.runs import RunRecords, RunState
from node.settings.tree import ListenerSettings, Settings, WebSettings
from tests.docs.commands import DOCUMENTS, REPOSITORY, Block, blocks, node_commands, parse, shell_lines
from tests.receive.conftest import postgres_url
from tests.receive.listener_process import eventually, free_port

__all__ = ["postgres_url"]

#: Programs that nothing can be run with here, and why.
NOT_RUN = {
    "apt-get": "changes the machine",
    "git": "fetches the repository",
    "make": "makes the environment that runs this test",
    "install": "into /etc/systemd of a machine that runs systemd",
    "systemctl": "needs systemd as the first process",
    "journalctl": "needs systemd as the first process",
    "docker": "needs a Docker engine",
    "kubectl": "needs a cluster",
    "promtool": "comes with Prometheus, which is not among the packages of the tests",
    "bmd-node": "takes minutes, or needs scans: parsed below, run by other tests",
}
RUNNABLE = [block for block in blocks() if block.words[:2] == ("sh", "run")]
SHELL = [block for block in blocks() if block.words[:1] == ("sh",)]


@dataclass(frozen=True)
class Machine:
    """Folders in the place of a machine's own, and a node that listens."""

    folder: Path
    dicom_port: int
    web_port: int

    def here(self, text: str) -> str:
        """A command with the paths and ports of this test."""
        for path in ("/etc/bmd-node", "/var/lib/bmd-node", "/srv/backup", "/opt/bmd-node/deploy/secrets"):
            text = text.replace(path, f"{self.folder}{path}")
        # the example of the settings names the state directory, which is one of these paths
        text = text.replace("/opt/bmd-node/deploy/bmd-node.toml", f"{self.folder}/opt/bmd-node.toml")
        text = re.sub(r"(?<![\w/])/opt/bmd-node(?=/)", str(REPOSITORY), text)
        return text.replace("127.0.0.1:8043", f"127.0.0.1:{self.web_port}").replace(
            "127.0.0.1 11112", f"127.0.0.1 {self.dicom_port}"
        )

    def run(self, text: str) -> str:
        """Run a block with a shell that stops at the first failure."""
        done = subprocess.run(
            ["/bin/sh", "-eu", "-c", self.here(text)],
            env=self.environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    @property
    def environment(self) -> dict[str, str]:
        """``bmd-node`` is this tree's, and dcmtk's programs are Debian's."""
        return {
            "PATH": f"{self.folder}/bin:/usr/bin:/bin",
            "PYTHONPATH": str(REPOSITORY),
            "BMD_NODE_LISTENER__HOST": "127.0.0.1",
            "BMD_NODE_LISTENER__PORT": str(self.dicom_port),
            "BMD_NODE_LISTENER__MIN_FREE_DISK_MB": "0",
            "BMD_NODE_WEB__PORT": str(self.web_port),
        }


def answers(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    for program in ("openssl", "curl", "echoscu"):
        if shutil.which(program, path="/usr/bin:/bin") is None:
            pytest.skip(f"{program} is not installed (Debian packages openssl, curl, dcmtk)")
    for folder in ("etc", "var/lib", "srv/backup", "opt/bmd-node/deploy", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    program = tmp_path / "bin" / "bmd-node"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m node.cli "$@"\n')
    program.chmod(0o755)
    made = Machine(tmp_path, free_port(), free_port())
    settings = Settings(
        state_dir=tmp_path / "var/lib/bmd-node",
        listener=ListenerSettings(host="127.0.0.1", port=made.dicom_port),
        web=WebSettings(port=made.web_port),
    )
    records = RunRecords.open(settings)
    records.queued("run-1", "2.25.4711", tmp_path)
    records.finished("run-1", RunState.MEASURED, "")
    example = (REPOSITORY / "deploy" / "bmd-node.toml").read_text(encoding="utf-8")
    (tmp_path / "opt" / "bmd-node.toml").write_text(made.here(example), encoding="utf-8")
    service = [sys.executable, "-m", "node.cli"]
    parts = [
        subprocess.Popen(
            [*service, part, "--config", tmp_path / "opt" / "bmd-node.toml"], env=made.environment, cwd=REPOSITORY
        )
        for part in ("listener", "web")
    ]
    try:
        # the page first: every knock at the listener is an association, and it admits some of them only
        eventually(lambda: answers(made.web_port), "the status page", 60.0)
        eventually(lambda: answers(made.dicom_port), "the listener", 60.0)
        yield made
    finally:
        for part in parts:
            part.send_signal(signal.SIGTERM)
        for part in parts:
            part.wait(30)


def test_what_is_marked_runs_in_its_order(machine: Machine) -> None:
    said = {block.line: machine.run(block.text) for block in RUNNABLE if "postgresql" not in block.words}
    assert len(said) >= 6
    assert "2.25.4711" in list(said.values())[-1], "what was done before the back-up is known after the restore"
    secrets = list((machine.folder / "opt/bmd-node/deploy/secrets").iterdir())
    secrets.append(machine.folder / "etc/bmd-node/credentials/database-password")
    assert len({path.read_text() for path in secrets}) == 4, "every secret is another one"
    assert all(re.fullmatch("[0-9a-f]{48}", path.read_text()) for path in secrets)


def test_postgresql_comes_back(postgres_url: str, tmp_path: Path) -> None:
    if shutil.which("pg_restore") is None:
        pytest.skip("PostgreSQL's programs are not installed (Debian package postgresql-client)")
    (tmp_path / "srv" / "backup").mkdir(parents=True)
    (tmp_path / "var/lib/bmd-node").mkdir(parents=True)
    url = sa.engine.make_url(postgres_url)
    settings = Settings(state_dir=tmp_path, database_url=postgres_url)
    RunRecords.open(settings).queued("backup-1", "2.25.1", tmp_path)
    machine = Machine(tmp_path, 0, 0)
    server = f"postgresql://{url.username}@{url.host}:{url.port}"
    for block in RUNNABLE:
        if "postgresql" in block.words:
            text = block.text.replace("postgresql://bmd-node@db.example.org/bmd-node", f"{server}/{url.database}")
            machine.run(text.replace("postgresql://bmd-node@db.example.org", server))
    restored = Settings(state_dir=tmp_path, database_url=str(url.set(database="restored")))
    assert [run.run_id for run in RunRecords.open(restored).runs()] == ["backup-1"]


def test_the_command_line_knows_every_command_and_option() -> None:
    commands = node_commands()
    assert len(commands) > 40
    for where, arguments in commands:
        try:
            parse(arguments)
        except click.UsageError as error:
            pytest.fail(f"{where}: bmd-node {shlex.join(arguments)}: {error}")


def names_of(line: str) -> Iterator[Path]:
    """Files of this repository that a command names."""
    for word in shlex.split(line):
        path = word.rpartition("=")[2]
        if path.startswith("/opt/bmd-node/") and not path.startswith(
            ("/opt/bmd-node/.venv", "/opt/bmd-node/deploy/secrets")
        ):
            yield REPOSITORY / path.removeprefix("/opt/bmd-node/")


@pytest.mark.parametrize("block", SHELL, ids=lambda block: f"{block.document.name}:{block.line}")
def test_what_does_not_run_here_names_what_exists(block: Block) -> None:
    grammar = block.text.replace("<address of this repository>", "ADDRESS")
    subprocess.run(["/bin/sh", "-n", "-c", grammar], check=True)
    for line in shell_lines(grammar):
        words = shlex.split(line)
        if "run" not in block.words:
            assert words[0] in NOT_RUN, f"{words[0]} is neither run nor known: mark the block with `run`"
        for path in names_of(line):
            assert path.exists(), line
        if words[0] == "systemctl" and words[-1] != "daemon-reload":
            unit = words[-1] if "." in words[-1] else f"{words[-1]}.service"
            assert (REPOSITORY / "deploy" / "systemd" / unit).exists() or unit == "orthanc.service", line
        if words[0] == "make":
            assert re.search(rf"^{words[-1]}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE), line


def test_links_between_the_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_scratch_machine_is_not_the_real_one() -> None:
    """What is run never names a folder outside of the test."""
    machine = Machine(Path("/scratch"), 1, 2)
    for block in RUNNABLE:
        for path in re.findall(r"(?<![\w.:/])/(?:etc|var|srv|opt)/[\w./-]+", machine.here(block.text)):
            assert path.startswith(("/scratch/", str(REPOSITORY))), path
