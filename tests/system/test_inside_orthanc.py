"""Orthanc with the plugin and the real node: nothing is lost, whichever of the two is away, and people see the result."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid

from node.records.runs import RunRecord, RunState
from tests.browser import keep_picture, needs_browser, open_page
from tests.plugins.orthanc_server import PASSWORD, USER, OrthancServer, ct_series, needs_orthanc
from tests.system.conftest import PATIENCE_S, RunningNode, node_for, wait_until

pytestmark = needs_orthanc


class _OrthancAsPacs:
    """What a node needs to know of its PACS."""

    name = "Orthanc with the plugin"

    def __init__(self, port: int) -> None:
        self.port = port


@dataclass(frozen=True)
class Hospital:
    """Orthanc and node after what happened to them: four studies came, of which the node can measure one."""

    orthanc: OrthancServer
    node: RunningNode
    measured_uid: str
    other_uids: tuple[str, ...]
    in_orthanc_before_its_restart: Counter[str]

    @property
    def measured_id(self) -> str:
        """Orthanc's name of the study that could be measured."""
        studies = self.orthanc.get("/studies?expand")
        (study_id,) = (s["ID"] for s in studies if s["MainDicomTags"]["StudyInstanceUID"] == self.measured_uid)
        return str(study_id)


@pytest.fixture(scope="module")
def hospital(small_phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """The node is down while four studies arrive; and Orthanc is killed as soon as it has handed them over."""
    folder = tmp_path_factory.mktemp("hospital")
    plugin = {"Modality": "bmd-node", "RetryFirstSeconds": 0.5, "RetryMaxSeconds": 2}
    orthanc = OrthancServer(folder, {"RegisteredUsers": {USER: PASSWORD}, "StableAge": 1, "BmdNode": plugin})
    with node_for(_OrthancAsPacs(orthanc.dicom_port), folder / "node") as node:
        (folder / "password").write_text(PASSWORD)
        with node.config.open("a", encoding="utf-8") as config:
            config.write(f'[orthanc]\nurl = "http://127.0.0.1:{orthanc.http_port}"\nuser = "{USER}"\npoll_s = 0.5\n')
            config.write(f'password_file = "{folder / "password"}"\n')
        orthanc.point_plugin_to(node.port)
        orthanc.start()
        try:
            images = [str(path) for path in sorted(small_phantom.glob("*.dcm"))]
            command = ["storescu", "-aec", "ORTHANC", "127.0.0.1", str(orthanc.dicom_port), *images]
            subprocess.run(command, check=True, timeout=PATIENCE_S)
            others = tuple(generate_uid() for _ in range(3))
            for uid in others:
                orthanc.send(*ct_series(uid))
            wait_until(lambda: "next attempt in" in orthanc.log, "an attempt while the node is down")

            node.start()
            wait_until(lambda: orthanc.log.count("the node accepted 1 series") == 4, "all four are handed over")
            before = _series(orthanc)
            orthanc.kill()
            wait_until(lambda: _settled(node) == 4, "the node has looked at all four")
            orthanc.start()
            measured = str(pydicom.dcmread(images[0], stop_before_pixels=True).StudyInstanceUID)
            yield Hospital(orthanc, node, measured, others, before)
        finally:
            orthanc.kill()


def _settled(node: RunningNode) -> int:
    return sum(run.state in (RunState.MEASURED, RunState.NOT_MEASURED) for run in node.records.runs())


def _series(orthanc: OrthancServer) -> Counter[str]:
    return Counter(series["MainDicomTags"]["Modality"] for series in orthanc.get("/series?expand"))


def test_studies_that_came_while_the_node_was_down_are_done_once(hospital: Hospital) -> None:
    runs = hospital.node.records.runs()
    assert sorted(run.study_instance_uid for run in runs) == sorted((hospital.measured_uid, *hospital.other_uids))
    assert Counter(run.state for run in runs) == {RunState.MEASURED: 1, RunState.NOT_MEASURED: 3}


def test_results_arrive_after_a_kill_of_orthanc_and_are_not_handed_over(hospital: Hospital) -> None:
    assert hospital.in_orthanc_before_its_restart == {"CT": 4}
    wait_until(lambda: _series(hospital.orthanc) >= Counter({"CT": 4, "SEG": 1, "SR": 1, "OT": 1}), "results in Orthanc")
    # Orthanc's own events of the results must not bring them to the node as new studies
    wait_until(lambda: all(s["IsStable"] for s in hospital.orthanc.get("/studies?expand")), "the studies to be stable")
    later = generate_uid()
    hospital.orthanc.send(*ct_series(later))
    wait_until(lambda: any(run.study_instance_uid == later for run in hospital.node.records.runs()), "the next study")
    assert len(hospital.node.records.runs()) == 5
    assert len(hospital.orthanc.get("/studies")) == 5


def test_the_endpoint_says_how_a_study_stands_and_what_came_out(hospital: Hospital) -> None:
    wait_until(lambda: _series(hospital.orthanc)["SR"] == 1, "results in Orthanc")
    for name in (hospital.measured_id, hospital.measured_uid):
        study = hospital.orthanc.get(f"/bmd-node/studies/{name}")
        assert (study["id"], study["state"]) == (hospital.measured_id, "measured")
        assert study["result"]["bmd_mg_cm3"] == pytest.approx(100.0, abs=3.0)
        assert f"{study['result']['bmd_mg_cm3']:.1f} mg/cm3" in study["result"]["conclusion"]
        assert [level["level"] for level in study["result"]["levels"]] == [f"L{n} vertebra" for n in (1, 2, 3, 4)]
        assert {one["modality"] for one in study["objects"]} == {"SEG", "SR", "OT"}
    assert hospital.orthanc.status(f"/bmd-node/studies/{generate_uid()}", f"{USER}:{PASSWORD}") == 404
    assert hospital.orthanc.status(f"/bmd-node/studies/{hospital.measured_id}") == 401


def test_the_endpoint_says_why_a_study_was_not_measured(hospital: Hospital) -> None:
    details = {run.study_instance_uid: run.detail for run in hospital.node.records.runs()}
    for uid in hospital.other_uids:
        wait_until(lambda uid=uid: hospital.orthanc.get(f"/bmd-node/studies/{uid}")["state"] == "not_measured", "the reason")
        study = hospital.orthanc.get(f"/bmd-node/studies/{uid}")
        assert study["detail"] == details[uid] != ""
        assert study["node_heard_s_ago"] is not None
        assert study["objects"] == []


@needs_browser
def test_a_button_in_orthancs_pages_shows_the_result(hospital: Hospital) -> None:
    wait_until(lambda: _series(hospital.orthanc)["OT"] >= 1, "results in Orthanc")
    with open_page(USER, PASSWORD, width=1200, height=1400) as page:
        page.goto(f"http://127.0.0.1:{hospital.orthanc.http_port}/app/explorer.html#study?uuid={hospital.measured_id}")
        button = page.get_by_role("link", name="Bone mineral density")
        button.wait_for()
        keep_picture(page, "orthanc-button")
        with page.expect_popup() as opened:
            button.click()
        shown = opened.value
        shown.get_by_text("mean trabecular BMD").wait_for()
        assert shown.locator("table tr").count() == 5
        picture = shown.locator("img")
        shown.wait_for_function("document.querySelector('img').complete")
        assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [1280, 1024]
        keep_picture(shown, "orthanc-result")

        shown.get_by_role("button", name="Measure again").click()
        shown.wait_for_url("**/view")
    took = f"study {hospital.measured_id}: the node accepted"
    wait_until(lambda: hospital.orthanc.log.count(took) == 2, "the study is handed over again")
    # by C-STORE the node cannot tell the images from the ones that it has: it asks Orthanc what is wanted
    wait_until(lambda: len(_runs_of(hospital.node, hospital.measured_uid)) == 2, "a second run")
    wait_until(lambda: {r.state for r in _runs_of(hospital.node, hospital.measured_uid)} == {RunState.MEASURED}, "its end")
    path = f"/bmd-node/studies/{hospital.measured_uid}"
    wait_until(lambda: hospital.orthanc.get(path)["state"] == "measured", "Orthanc is told")


def _runs_of(node: RunningNode, study_instance_uid: str) -> list[RunRecord]:
    return [run for run in node.records.runs() if run.study_instance_uid == study_instance_uid]
