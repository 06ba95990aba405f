"""Orthanc with the plugin hands a CT to the real node, and the results appear under the study in the same Orthanc."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

from node.records import RunState
from tests.plugins.orthanc_server import PASSWORD, USER, OrthancServer, needs_orthanc
from tests.system.conftest import PATIENCE_S, node_for, wait_until


class _OrthancAsPacs:
    """What a node needs to know of its PACS."""

    name = "Orthanc with the plugin"

    def __init__(self, port: int) -> None:
        self.port = port


@needs_orthanc
def test_a_ct_in_orthanc_gets_its_results_there_without_a_click(small_phantom: Path, tmp_path: Path) -> None:
    server = OrthancServer(tmp_path, {"RegisteredUsers": {USER: PASSWORD}, "StableAge": 2})
    with node_for(_OrthancAsPacs(server.dicom_port), tmp_path / "node") as node:
        server.point_plugin_to(node.port)
        server.start()
        try:
            node.start()
            images = [str(path) for path in sorted(small_phantom.glob("*.dcm"))]
            command = ["storescu", "-aec", "ORTHANC", "127.0.0.1", str(server.dicom_port), *images]
            subprocess.run(command, check=True, timeout=PATIENCE_S)

            run = node.wait_until_delivered()
            assert run.state is RunState.MEASURED
            expected = Counter({"CT": 1, "SEG": 1, "SR": 1, "OT": 1})
            wait_until(lambda: _series(server) == expected, "the results in Orthanc")
            assert len(server.get("/studies")) == 1
            # Orthanc's own events of the results must not bring them to the node as a new study
            wait_until(lambda: all(study["IsStable"] for study in server.get("/studies?expand")), "the study to be stable")
            assert len(node.records.runs()) == 1
            assert _series(server) == expected
        finally:
            server.stop()


def _series(server: OrthancServer) -> Counter[str]:
    return Counter(series["MainDicomTags"]["Modality"] for series in server.get("/series?expand"))
