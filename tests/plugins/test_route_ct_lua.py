"""Orthanc without the Python plugin: the Lua script sends CT series to the node."""

from __future__ import annotations

from pathlib import Path

from pydicom.uid import generate_uid

from tests.plugins.node_stand_in import NodeStandIn
from tests.plugins.orthanc_server import (
    PASSWORD,
    REPOSITORY,
    USER,
    OrthancServer,
    ct_series,
    needs_orthanc,
    results,
    wait_until,
)


@needs_orthanc
def test_ct_is_sent_and_results_are_not(tmp_path: Path, node: NodeStandIn) -> None:
    changes = {
        "StableAge": 1,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomModalities": {"bmd-node": {"AET": "BMDNODE", "Host": "127.0.0.1", "Port": node.port}},
        "BmdNode": {"Enable": False},
        "LuaScripts": [str(REPOSITORY / "deploy" / "orthanc" / "route-ct.lua")],
    }
    node.start()
    orthanc = OrthancServer(tmp_path, changes)
    orthanc.start()
    try:
        study_uid = generate_uid()
        ct = ct_series(study_uid)
        orthanc.send(*ct, *results(study_uid))
        wait_until(lambda: node.has(*ct), "the CT is sent")
        wait_until(lambda: all(series["IsStable"] for series in orthanc.get("/series?expand")), "every series is stable")
    finally:
        orthanc.kill()
    assert sum(node.received.values()) == len(ct)
