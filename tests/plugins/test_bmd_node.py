"""The plugin inside a real Orthanc, with a real SCP in the node's place."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from node.report import build_seg, build_sr, uids_for
from node.report.wording import conclusion
from tests.plugins.node_stand_in import NodeStandIn
from tests.plugins.orthanc_server import PASSWORD, USER, OrthancServer, ct_series, needs_orthanc, results, wait_until
from tests.report.conftest import CREATED, fractured, hu_only, measured, synthetic_ct, with_prior

pytestmark = needs_orthanc


@pytest.fixture
def orthanc(tmp_path: Path, node: NodeStandIn) -> Iterator[OrthancServer]:
    changes = {
        "StableAge": 1,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomModalities": {"bmd-node": {"AET": "BMDNODE", "Host": "127.0.0.1", "Port": node.port}},
        "BmdNode": {"Modality": "bmd-node", "RetryFirstSeconds": 0.5, "RetryMaxSeconds": 2},
    }
    server = OrthancServer(tmp_path, changes)
    server.start()
    yield server
    server.kill()


def test_ct_arrives_once_and_results_are_not_handed_over(orthanc: OrthancServer, node: NodeStandIn) -> None:
    node.start()
    study_uid = generate_uid()
    ct = ct_series(study_uid)
    own_ct = ct_series(generate_uid(), model_name="bmd-node")
    orthanc.send(*ct)
    wait_until(lambda: node.has(*ct), "the CT is handed over")

    orthanc.send(*results(study_uid), *results(study_uid, "Another program"))
    orthanc.send(*own_ct)
    wait_until(lambda: len(orthanc.get("/series")) == 8, "Orthanc has two SEG, SR and pages and the node's own CT")
    wait_until(lambda: all(study["IsStable"] for study in orthanc.get("/studies?expand")), "the studies are stable again")
    # studies go one after the other, oldest first: when the next has arrived, nothing more comes of the ones before
    later = ct_series(generate_uid())
    orthanc.send(*later)
    wait_until(lambda: node.has(*later), "the next study is handed over")

    assert node.times(*ct, *later) == [1] * 8
    assert sum(node.received.values()) == 8, "something other than the two CT series was handed over"

    # the mean of a report, and that of an earlier study beside a report that has none
    source = synthetic_ct("axial")
    kinds = ((measured, "2.25.1001", 97.1), (hu_only, "2.25.1009", None), (fractured, "2.25.1010", 97.1))
    for make, study_uid, mean in kinds:
        uids, result = uids_for(study_uid, "digest", "0.1.0", "settings"), with_prior(make(source))
        seg = build_seg(source.volume, source.sources, source.labels, source.regions, result, uids, CREATED)
        report = build_sr(source.sources, seg, result, uids, CREATED)
        report.StudyInstanceUID = study_uid
        orthanc.send(report)
        shown = orthanc.get(f"/bmd-node/studies/{study_uid}")["result"]
        assert shown["bmd_mg_cm3"] == mean, study_uid
        assert [level["bmd_mg_cm3"] for level in shown["levels"]] == ([102.4, 97.5, 93.1, 95.3] if mean else [None] * 4)
        # the whole conclusion: Orthanc leaves out texts of more than 256 characters if it is not asked for them
        assert shown["conclusion"] == str(conclusion(result))
    assert len(shown["conclusion"]) > 256


def test_late_images_bring_the_series_again(orthanc: OrthancServer, node: NodeStandIn) -> None:
    node.start()
    ct = ct_series(generate_uid(), slices=6)
    orthanc.send(*ct[:4])
    wait_until(lambda: node.has(*ct[:4]), "the first images are handed over")
    orthanc.send(*ct[4:])
    wait_until(lambda: node.has(*ct), "the late images are handed over")


def test_node_that_is_down_gets_its_studies_when_it_is_back(orthanc: OrthancServer, node: NodeStandIn) -> None:
    first, second = ct_series(generate_uid()), ct_series(generate_uid())
    orthanc.send(*first)
    orthanc.send(*second)
    wait_until(lambda: orthanc.log.count("next attempt in") >= 3, "attempts fail and are repeated")
    node.start()
    wait_until(lambda: node.has(*first, *second), "both studies are handed over")
    wait_until(lambda: orthanc.log.count("the node accepted 1 series") == 2, "both are settled")
    assert node.times(*first, *second) == [1] * 8
    assert "the node did not accept it" in orthanc.log
    assert "could not start a job" not in orthanc.log, "the plugin waited for the transfer instead of making a job of it"


def test_what_is_owed_survives_a_kill_of_orthanc(orthanc: OrthancServer, node: NodeStandIn) -> None:
    tried = ct_series(generate_uid())
    orthanc.send(*tried)
    wait_until(lambda: "next attempt in" in orthanc.log, "an attempt failed")
    not_stable_yet = ct_series(generate_uid())
    orthanc.send(*not_stable_yet)
    orthanc.kill()

    node.start()
    orthanc.start()
    wait_until(lambda: node.has(*tried, *not_stable_yet), "both studies are handed over after the restart")
    assert node.times(*tried, *not_stable_yet) == [1] * 8


def test_what_was_handed_over_is_not_handed_over_again_after_a_kill(orthanc: OrthancServer, node: NodeStandIn) -> None:
    node.start()
    ct = ct_series(generate_uid())
    orthanc.send(*ct)
    wait_until(lambda: "the node accepted" in orthanc.log, "the CT is handed over")
    orthanc.kill()
    orthanc.start()
    later = ct_series(generate_uid())
    orthanc.send(*later)
    wait_until(lambda: node.has(*later), "the next study is handed over")
    assert node.times(*ct) == [1] * 4


def test_orthanc_answers_while_the_node_does_not(orthanc: OrthancServer, node: NodeStandIn) -> None:
    """A node that accepts the connection and then says nothing is the worst case for a caller that waits."""
    with socket.create_server(("127.0.0.1", node.port)):
        orthanc.send(*ct_series(generate_uid()))
        wait_until(lambda: len(orthanc.get("/jobs")) == 1, "the hand-over has begun")
        start = time.monotonic()
        orthanc.send(*ct_series(generate_uid()))
        assert orthanc.get("/system")["Version"]
        took_s = time.monotonic() - start
        (job_id,) = orthanc.get("/jobs")
        assert orthanc.get(f"/jobs/{job_id}")["State"] == "Running"
    assert took_s < 3.0
    assert orthanc.stop() == 0
