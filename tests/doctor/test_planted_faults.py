"""A node in which everything is wrong at once, and one in which nothing is: ``bmd-node doctor`` names each fault."""

from __future__ import annotations

import base64
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.main import main
from node.doctor import Outcome
from node.doctor.destinations import check_destinations
from node.doctor.network import check_listener, check_status_page, check_way_back
from node.settings.tree import Destination, ListenerSettings, Settings, WebSettings
from tests.deliver.delivery_servers import SC, storage_scp
from tests.doctor.web_server import answers_with
from tests.receive.listener_process import Listener, free_port


@dataclass(frozen=True)
class Neighbours:
    """What is on this machine: programs that have ports, and PACS of every kind."""

    taken_ports: tuple[int, int]
    nobody: int
    other_title: int
    takes_nothing: int
    takes_pages_only: int
    old_fhir: str


class _HangsUp(socketserver.BaseRequestHandler):
    """Takes a connection and says nothing."""


@contextmanager
def another_program() -> Iterator[int]:
    """Yields the port that it has."""
    with socketserver.TCPServer(("127.0.0.1", 0), _HangsUp) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def neighbours() -> Iterator[Neighbours]:
    with ExitStack() as stack:
        taken = tuple(stack.enter_context(another_program()) for _ in range(2))
        yield Neighbours(
            (taken[0], taken[1]),
            free_port(),
            stack.enter_context(storage_scp(ae_title="OTHER"))[0],
            stack.enter_context(storage_scp(sop_classes=("1.2.840.10008.5.1.4.1.1.4",)))[0],
            stack.enter_context(storage_scp(sop_classes=(SC,)))[0],
            stack.enter_context(
                answers_with({"/metadata": b'{"resourceType": "CapabilityStatement", "fhirVersion": "3.0.2"}'})
            ),
        )


def test_each_of_the_planted_faults_is_named(tmp_path: Path, neighbours: Neighbours) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / "webhook-secret").write_text("whsec_" + base64.b64encode(b"x" * 24).decode())
    (state / "bmd-node.sqlite").write_text("this is not a database, " * 100)
    pacs = {
        "down": ("PACS", "127.0.0.1", neighbours.nobody),
        "stranger": ("PACS", "127.0.0.1", neighbours.other_title),
        "deaf": ("PACS", "127.0.0.1", neighbours.takes_nothing),
        "pages": ("PACS", "127.0.0.1", neighbours.takes_pages_only),
        "nowhere": ("PACS", "pacs.invalid", 104),
        "myself": ("BMDNODE", "127.0.0.1", neighbours.taken_ports[0]),
    }
    config = tmp_path / "bmd-node.toml"
    config.write_text(
        f"""state_dir = "{state}"
[listener]
host = "127.0.0.1"
port = {neighbours.taken_ports[0]}
allowed_calling_ae_titles = ["CT1"]
min_free_disk_mb = {2**40}
[segment]
segmenter = "torchscript:{tmp_path / "spine.pt"}"
[calibrate]
site_equations = "{tmp_path / "equations.toml"}"
[web]
port = {neighbours.taken_ports[1]}
[orthanc]
url = "http://127.0.0.1:{neighbours.nobody}"
[alert]
smtp_host = "127.0.0.1"
smtp_port = {neighbours.nobody}
smtp_security = "none"
sender = "node@example.org"
recipients = ["surgeon@example.org"]
[[alert_receivers]]
kind = "hl7"
name = "engine"
host = "127.0.0.1"
port = {neighbours.taken_ports[0]}
[[alert_receivers]]
kind = "fhir"
name = "kis"
base_url = "http://127.0.0.1:{neighbours.nobody}/fhir"
patient_system = "urn:kis"
[[alert_receivers]]
kind = "webhook"
name = "pager"
url = "https://receiver.invalid/alerts"
secret_file = "{tmp_path / "webhook-secret"}"
[[alert_receivers]]
kind = "hl7"
name = "chief_engine"
stage = "second"
host = "127.0.0.1"
port = {neighbours.nobody}
[[alert_receivers]]
kind = "webhook"
name = "chief_pager"
stage = "second"
url = "https://receiver.invalid/alerts"
secret_file = "{tmp_path / "missing"}"
[alert_second_fhir]
base_url = "http://127.0.0.1:{neighbours.nobody}/fhir"
patient_system = "urn:kis"
[plans_hl7]
enabled = true
host = "127.0.0.1"
port = {neighbours.taken_ports[1]}
[plans_list]
folder = "{tmp_path / "lists"}"
[plans_fhir]
base_url = "{neighbours.old_fhir}"
[dicomweb]
url = "http://127.0.0.1:{neighbours.nobody}/dicom-web"
"""
        + "".join(
            f'[[destinations]]\nname = "{name}"\nae_title = "{title}"\nhost = "{host}"\nport = {port}\n'
            for name, (title, host, port) in pacs.items()
        ),
        encoding="utf-8",
    )
    result = CliRunner().invoke(main, ["doctor", "--json", "--config", str(config)])
    assert result.exit_code == 1
    findings = json.loads(result.output)
    found = {one["check"]: (one["outcome"], f"{one['detail']}; {one['what_to_do']}") for one in findings}
    planted = {
        "segmenter": ("error", "spine.pt does not exist"),
        "equations": ("error", "equations.toml cannot be read"),
        "state directory": ("warning", "min_free_disk_mb"),
        "database": ("error", "file is not a database"),
        "listener": ("error", "is in use, but this node does not answer there"),
        "status page": ("error", "is in use, but not by this node"),
        "destination down": ("error", "open the firewall"),
        "destination stranger": ("error", "called AE title not recognised"),
        "destination deaf": ("error", "nothing that people can read"),
        "destination pages": (
            "warning",
            "no segmentation (Segmentation Storage); no structured report (Comprehensive 3D",
        ),
        "destination nowhere": ("error", "the host pacs.invalid cannot be resolved"),
        "destination myself": ("error", "this is the node itself"),
        "senders": ("warning", "not allowed: PACS"),
        "Orthanc": ("error", "does not answer"),
        "link with Orthanc": ("warning", "has not run with the state directory"),
        "DICOMweb": ("error", "does not answer"),
        "planned operations, intake": ("warning", "start it: bmd-node serve, or bmd-node intake"),
        "planned operations by HL7": ("error", "is in use, but not by an intake of this node"),
        "planned operations, theatre lists": ("error", "give the node's user write permission"),
        "planned operations by FHIR": ("warning", "FHIR 3.0.2; the node supports R4 and R4B"),
        "alerts by mail": ("error", "could not be reached"),
        "names of settings": ("warning", "[alert_second_fhir] is now an entry of [[alert_receivers]]"),
        "alerts to engine": ("error", "TLS handshake"),
        "alerts to kis": ("error", "correct alert_receivers.kis.base_url"),
        "alerts to pager": ("error", "the host receiver.invalid cannot be resolved"),
        "alerts to chief_engine": ("error", "open the firewall; alerts wait until then"),
        "alerts to second_fhir": ("error", "correct alert_receivers.second_fhir.base_url"),
        "alerts to chief_pager": ("error", "alert_receivers.chief_pager.secret_file"),
        "running": ("error", "the node does not run here"),
        "work": ("error", "the database does not answer"),
        "corrected images": ("error", ""),
        "scanners": ("error", "the database does not answer"),
    }
    assert {check for check, (outcome, _) in found.items() if outcome != "ok"} == set(planted)
    for check, (outcome, words) in planted.items():
        assert found[check][0] == outcome, check
        assert words in found[check][1], check


def test_a_running_listener_and_a_pacs_that_takes_everything(tmp_path: Path) -> None:
    listener = ListenerSettings(host="127.0.0.1", port=free_port(), allowed_calling_ae_titles=("CT1", "PACS"))
    with storage_scp() as (port, received):
        pacs = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)
        settings = Settings(state_dir=tmp_path / "state", listener=listener, destinations=(pacs,))
        running = Listener(settings, tmp_path / "listener.log")
        running.start()
        try:
            [ours], [theirs], [senders] = check_listener(settings), check_destinations(settings), check_way_back(settings)
        finally:
            running.stop()
    assert (ours.outcome, "answers C-ECHO" in ours.detail) == (Outcome.OK, True)
    assert (theirs.outcome, "accepts segmentation as Segmentation Storage; structured report as Comp" in theirs.detail) == (
        Outcome.OK,
        True,
    )
    assert "does not offer C-ECHO" in theirs.detail, "this one stores and does not verify"
    assert received == [], "nothing is sent but questions"
    assert senders.outcome is Outcome.WARNING
    assert "nothing received yet" in senders.detail


def test_a_node_of_another_name_has_the_port(tmp_path: Path) -> None:
    with storage_scp(ae_title="OTHER") as (port, _):
        settings = Settings(state_dir=tmp_path, listener=ListenerSettings(host="127.0.0.1", port=port))
        [found] = check_listener(settings)
    assert found.outcome is Outcome.ERROR
    assert "called AE title not recognised" in found.detail


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    elsewhere = "192.0.2.1"  # RFC 5737: nobody has it
    settings = Settings(
        state_dir=tmp_path, listener=ListenerSettings(host=elsewhere), web=WebSettings(host=elsewhere, port=free_port())
    )
    for [found], section in ((check_listener(settings), "listener"), (check_status_page(settings), "web")):
        assert found.outcome is Outcome.ERROR
        assert found.what_to_do == f"set {section}.host to an address of this machine"
