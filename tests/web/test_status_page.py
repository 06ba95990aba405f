"""The status page over a real server and real records."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from node.common.errors import ConfigurationError
from node.records.destinations import Ability, DestinationRecords
from node.records.destinations import Answer as ClassAnswer
from node.records.runs import DeliveryState, RunRecords, RunState
from node.settings.tree import Destination, Settings, WebSettings
from node.web import serve_web
from tests.web.people import Answer, Browser, logged_in

STUDY = "1.2.826.0.1.3680043.8.498.1"
PNG = b"\x89PNG\r\n\x1a\nnot much of a picture"
HOSTILE = '<script>alert("x")</script>/../../%2e%2e?id=&\'"><img src=x onerror=y>'
RESULT = {
    "status": "measured",
    "reasons": [{"code": "levels_missing", "detail": "L4 is not in view"}],
    "series": {
        "study_instance_uid": STUDY,
        "series_instance_uid": "1.2.3.4",
        "manufacturer": "ACME <b>",
        "model": "CT 9000",
        "kvp": 120.0,
        "kernel": None,
        "spacing_mm": [0.7, 0.7, 1.0],
        "orientation": "axial",
        "contrast_phase": "none",
    },
    "series_left_out": [{"series_instance_uid": "1.2.3.5", "code": "localizer", "detail": "a localizer, not slices"}],
    "levels": [
        {
            "level": "L1",
            "centroid_lps_mm": [0.0, 0.0, 0.0],
            "hu_mean": 101.2,
            "hu_sd": 20.4,
            "roi_volume_mm3": 4321.0,
            "bmd_mg_cm3": 78.9,
            "usable": True,
            "findings": [],
        },
        {
            "level": "L2",
            "centroid_lps_mm": [0.0, 0.0, -30.0],
            "hu_mean": None,
            "hu_sd": None,
            "roi_volume_mm3": 0.0,
            "bmd_mg_cm3": None,
            "usable": False,
            "findings": [{"code": "roi_too_small", "detail": "nothing is left after erosion"}],
        },
    ],
    "hu_mean": 101.2,
    "bmd_mg_cm3": 78.9,
    "bmd_interval_mg_cm3": [70.1, 87.7],
    "category": "osteoporosis",
    "calibration": {"id": "acme-120", "slope": 0.8, "intercept": -2.1, "material": "HA", "source": "a paper"},
    "timings_s": {"select": 0.1},
    "software": {"version": "0.1.0", "segmenter": "embedded 1"},
}


@dataclass(frozen=True)
class Node:
    """A node of which only the records and the status page are there, and a person with all roles who is logged in."""

    settings: Settings
    records: RunRecords
    browser: Browser

    def ask(self, path: str, method: str = "GET", host: str | None = None) -> Answer:
        return self.browser.ask(path, method, host=host)

    def run_page(self, run_id: str, part: str = "") -> Answer:
        return self.ask(f"/run{part}?id={quote(run_id, safe='')}")

    def add_run(self, run_id: str, state: RunState, detail: str = "") -> Path:
        """A run with an empty folder."""
        folder = self.settings.state_dir / "runs" / str(len(self.records.runs()))
        folder.mkdir(parents=True)
        self.records.queued(run_id, STUDY, folder)
        if state is RunState.RUNNING:
            self.records.at_step(run_id, "segment")
        elif state is not RunState.QUEUED:
            self.records.finished(run_id, state, detail)
        return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    pacs = (Destination(name="archive", ae_title="PACS", host="127.0.0.1", port=104),)
    settings = Settings(state_dir=tmp_path / "state", web=WebSettings(port=_free_port()), destinations=pacs)
    records = RunRecords.open(settings)
    stop = threading.Event()
    server = threading.Thread(target=serve_web, args=(settings, stop))
    server.start()
    try:
        _wait_for(settings.web.port)
        yield Node(settings, records, logged_in(settings))
    finally:
        stop.set()
        server.join(20)
    assert not server.is_alive(), "the server does not stop"


def _wait_for(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < end, "the server does not listen"
            time.sleep(0.05)
        else:
            return


def test_the_list_shows_every_run_with_room_reason_and_deliveries(node: Node) -> None:
    node.add_run("a", RunState.RUNNING)
    node.add_run("b", RunState.NOT_MEASURED, "no CT series with enough slices")
    node.add_run("c", RunState.MEASURED)
    node.records.delivery("c", "archive", DeliveryState.PENDING, 3, "connection refused")
    page = node.ask("/")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    for expected in ("running", "segment", "not measured", "no CT series with enough slices", "archive", "3 attempts"):
        assert expected in page.text
    assert page.text.index("id=c") < page.text.index("id=b") < page.text.index("id=a"), "newest first"
    assert "<script" not in page.text
    assert 'http-equiv="refresh"' in page.text


def test_the_page_of_a_run_shows_caveats_and_does_not_round_across_a_threshold(node: Node) -> None:
    folder = node.add_run("c", RunState.MEASURED)
    caveat = "A normal result does not rule out low BMD."
    more = {"bmd_mg_cm3": 79.96, "bmd_interval_mg_cm3": [72.6, 87.3], "borderline": True, "caveats": [caveat]}
    (folder / "result.json").write_text(json.dumps(RESULT | more), encoding="utf-8")
    text = node.run_page("c").text
    assert "79.96 mg/cm³" in text
    assert "72.6 to 87.3" in text
    assert "osteoporosis (borderline)" in text
    assert caveat in text

    limits = {"category": None, "hu_reference": {"level": "L1", "hu_mean": 101.2, "detail": "L1 beside published limits"}}
    (folder / "result.json").write_text(json.dumps(RESULT | limits), encoding="utf-8")
    text = node.run_page("c").text
    assert "L1 beside published limits" in text
    assert "borderline" not in text


def test_the_page_of_a_run_shows_levels_deliveries_and_picture(node: Node) -> None:
    folder = node.add_run("c", RunState.MEASURED)
    (folder / "result.json").write_text(json.dumps(RESULT), encoding="utf-8")
    (folder / "summary.png").write_bytes(PNG)
    node.records.delivery("c", "archive", DeliveryState.STORED, 2, "stored 3 objects")
    page = node.run_page("c")
    assert page.status == 200
    for expected in ("78.9", "70.1 to 87.7", "osteoporosis", "101.2", "20.4", "4321", "nothing is left after erosion"):
        assert expected in page.text
    for expected in ("L4 is not in view", "a localizer, not slices", "stored 3 objects", "0.8 × HU − 2.1", "ACME &lt;b&gt;"):
        assert expected in page.text
    assert "None" not in page.text, "a value that does not exist is a dash"
    assert 'src="/run/summary.png?id=c"' in page.text
    assert 'http-equiv="refresh"' not in page.text, "nothing changes here any more"

    picture, result = node.run_page("c", "/summary.png"), node.run_page("c", "/result.json")
    assert (picture.status, picture.headers["content-type"], picture.body) == (200, "image/png", PNG)
    assert (result.status, result.headers["content-type"]) == (200, "application/json")
    assert json.loads(result.body) == RESULT


def test_the_destinations_show_what_each_of_them_takes_and_since_when(node: Node) -> None:
    assert "Not known yet" in node.ask("/destinations").text
    [archive] = node.settings.destinations
    known = DestinationRecords.open(node.settings)
    explicit = "1.2.840.10008.1.2.1"
    known.learn(
        archive,
        [
            Ability("1.2.840.10008.5.1.4.1.1.88.34", explicit, ClassAnswer.REFUSED_CONTEXT),
            Ability("1.2.840.10008.5.1.4.1.1.88.22", explicit, ClassAnswer.ACCEPTED),
            Ability("1.2.840.10008.5.1.4.1.1.66.7", explicit, ClassAnswer.REFUSED_STORE),
        ],
    )
    page = node.ask("/destinations")
    assert page.status == 200
    for expected in (
        "archive",
        "PACS@127.0.0.1:104",
        "Label Map Segmentation Storage",
        "refused store",
        "Enhanced SR Storage",
    ):
        assert expected in page.text
    row = page.text[page.text.index("Comprehensive 3D SR Storage") :]
    assert row.index("refused context") < row.index("</tr>")
    assert 'href="/destinations"' in node.ask("/").text


def test_a_run_without_result_says_so(node: Node) -> None:
    node.add_run("q", RunState.QUEUED)
    page = node.run_page("q")
    assert page.status == 200
    assert "There is no result yet." in page.text
    assert "summary.png" not in page.text
    assert 'http-equiv="refresh"' in page.text
    assert node.run_page("q", "/summary.png").status == 404
    assert node.run_page("q", "/result.json").status == 404


@pytest.mark.parametrize("content", ["", "{", '{"status": "measured"}', "[1]"])
def test_a_broken_result_is_named(node: Node, content: str) -> None:
    (node.add_run("x", RunState.FAILED, "the disk was full") / "result.json").write_text(content, encoding="utf-8")
    page = node.run_page("x")
    assert page.status == 200
    assert "result.json cannot be shown" in page.text
    assert "the disk was full" in page.text


def test_what_comes_from_outside_is_escaped(node: Node) -> None:
    node.add_run(HOSTILE, RunState.FAILED, HOSTILE)
    node.records.delivery(HOSTILE, "archive", DeliveryState.REJECTED, 1, HOSTILE)
    for page in (node.ask("/"), node.run_page(HOSTILE)):
        assert page.status == 200
        assert "&lt;script&gt;" in page.text
        assert "<script" not in page.text
        assert "<img" not in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "run_id",
    ["", "..", "../../../../etc/passwd", "/etc/passwd", "c\x00", "%00", "c' OR '1'='1", "c/../c", HOSTILE, "ä" * 3000],
)
def test_unknown_and_hostile_run_ids_find_nothing(node: Node, run_id: str) -> None:
    folder = node.add_run("c", RunState.MEASURED)
    (folder / "result.json").write_text(json.dumps(RESULT), encoding="utf-8")
    for part in ("", "/result.json", "/summary.png"):
        answer = node.run_page(run_id, part)
        assert answer.status == 404
        assert "Run not found." in answer.text


@pytest.mark.parametrize(
    "path",
    ["/run/seg.dcm?id=c", "/run/../../etc/passwd?id=c", "/run/%2e%2e/secret?id=c", "//etc/passwd", "/templates/run.html"],
)
def test_nothing_but_the_two_files_of_a_run_is_served(node: Node, path: str) -> None:
    (node.add_run("c", RunState.MEASURED) / "seg.dcm").write_bytes(b"DICM")
    assert node.ask(path).status == 404


def test_a_link_that_leads_out_of_the_folder_is_not_followed(node: Node, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(json.dumps(RESULT), encoding="utf-8")
    folder = node.add_run("c", RunState.MEASURED)
    (folder / "result.json").symlink_to(secret)
    (folder / "summary.png").symlink_to(secret)
    assert node.run_page("c", "/result.json").status == 404
    assert node.run_page("c", "/summary.png").status == 404
    assert "osteoporosis" not in node.run_page("c").text


def test_a_folder_that_cannot_be_read_breaks_its_own_page_only(node: Node) -> None:
    node.records.queued("bad", STUDY, Path("a\0b"))
    page = node.run_page("bad")
    assert page.status == 500
    assert "See the log of the node." in page.text
    assert "Traceback" not in page.text
    assert node.ask("/").status == 200


def test_the_page_cannot_be_used_to_change_anything(node: Node) -> None:
    node.add_run("c", RunState.QUEUED)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert node.ask("/run?id=c", method).status == 405


def test_another_sites_name_for_this_address_is_refused(node: Node) -> None:
    port = node.settings.web.port
    assert node.ask("/", host=f"evil.example:{port}").status == 400
    assert node.ask("/metrics", host="evil.example").status == 400
    for name in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert node.ask("/health", host=name).status == 200


def test_health_tells_whether_the_database_answers(node: Node) -> None:
    answer = node.ask("/health")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok", "database": "reachable"})
    # somebody restored a database that lacks the node's tables
    with contextlib.closing(sqlite3.connect(node.settings.sqlalchemy_url.removeprefix("sqlite:///"))) as connection:
        connection.execute("DROP TABLE runs")
    answer = node.ask("/health")
    assert (answer.status, json.loads(answer.body)) == (503, {"status": "error", "database": "unreachable"})
    page = node.ask("/")
    assert page.status == 503
    assert "The database does not answer." in page.text


def test_metrics_count_states_and_name_nobody(node: Node) -> None:
    node.add_run(f"{STUDY}-1", RunState.MEASURED)
    node.add_run(f"{STUDY}-2", RunState.MEASURED)
    node.add_run(f"{STUDY}-3", RunState.FAILED, "study of Jane Doe")
    node.records.delivery(f"{STUDY}-1", "archive", DeliveryState.STORED, 1, "")
    node.records.delivery(f"{STUDY}-1", "backup", DeliveryState.PENDING, 4, "")
    answer = node.ask("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    assert 'bmd_node_runs{state="measured"} 2.0' in lines
    assert 'bmd_node_runs{state="failed"} 1.0' in lines
    assert 'bmd_node_runs{state="queued"} 0.0' in lines
    assert 'bmd_node_deliveries{state="stored"} 1.0' in lines
    assert 'bmd_node_deliveries{state="pending"} 1.0' in lines
    for forbidden in (STUDY, "Jane", "archive", "backup"):
        assert forbidden not in answer.text


def test_a_port_that_is_taken_is_a_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = Settings(state_dir=tmp_path, web=WebSettings(port=port))
        with pytest.raises(ConfigurationError, match=rf"port {port} .*\[web\]"):
            serve_web(settings, threading.Event())
