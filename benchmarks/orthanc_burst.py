"""How fast Orthanc answers C-ECHO and REST while fifty studies arrive, with and without the plugin.

``PYTHONPATH=. python -m benchmarks.orthanc_burst`` needs the Debian packages orthanc, orthanc-python and dcmtk. The node is
dcmtk's ``storescp``, so that nothing but Orthanc and its plugin is measured. Four scanners send at once.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.uid import generate_uid

from node.deliver import echo
from node.demo.pacs import free_port
from node.settings.tree import Destination
from tests.plugins.orthanc_server import PASSWORD, USER, OrthancServer, ct_series, wait_until

STUDIES, SLICES, SCANNERS = 50, 40, 4
_PAUSE_S = 0.05
_LIMIT_S = 600.0


class _Clock(threading.Thread):
    """Sends one request after the other and records how long each answer takes."""

    def __init__(self, ask: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._ask = ask
        self._stop_asking = threading.Event()
        self.took_s: list[float] = []

    def run(self) -> None:
        while not self._stop_asking.wait(_PAUSE_S):
            start = time.perf_counter()
            self._ask()
            self.took_s.append(time.perf_counter() - start)

    def finish(self) -> str:
        self._stop_asking.set()
        self.join()
        ms = np.array(self.took_s) * 1000
        return f"{len(ms):5d}  {np.median(ms):7.1f}  {np.percentile(ms, 95):7.1f}  {ms.max():7.1f}"


def main() -> None:
    """Print a table: number of requests; median, 95th percentile and maximum of the response time in ms."""
    print(f"{STUDIES} studies of {SLICES} images                     n   median      p95  longest (ms)")
    for enable in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            _measure(Path(folder), enable=enable)


def _measure(folder: Path, *, enable: bool) -> None:
    scanners = _write_studies(folder)
    node_port = free_port()
    received = folder / "node"
    received.mkdir()
    plugin = {"Modality": "bmd-node", "Enable": enable}
    orthanc = OrthancServer(folder, {"RegisteredUsers": {USER: PASSWORD}, "StableAge": 1, "BmdNode": plugin})
    orthanc.point_plugin_to(node_port)
    scp = ["storescp", "--fork", "-aet", "BMDNODE", "-od", str(received), str(node_port)]
    with subprocess.Popen(scp, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as node:
        orthanc.start()
        try:
            words = "with the plugin" if enable else "without the plugin"
            clocks = _clocks(orthanc)
            time.sleep(10)
            _report(clocks, f"{words}, idle")
            clocks = _clocks(orthanc)
            senders = [subprocess.Popen(_storescu(orthanc, scanner), stdout=subprocess.DEVNULL) for scanner in scanners]
            if any(sender.wait() for sender in senders):
                raise SystemExit("storescu failed")
            if enable:
                wait_until(lambda: orthanc.log.count("the node accepted") == STUDIES, "all are handed over", _LIMIT_S)
            _report(clocks, f"{words}, burst" + (" and hand-over" if enable else ""))
            if enable:
                print(f"  the node got {len(list(received.iterdir()))} images")
        finally:
            orthanc.kill()
            node.terminate()


def _write_studies(folder: Path) -> list[Path]:
    """All studies as files, divided among the scanners."""
    scanners = [folder / f"scanner-{n}" for n in range(SCANNERS)]
    for n in range(STUDIES):
        study = scanners[n % SCANNERS] / f"{n}"
        study.mkdir(parents=True)
        for k, ds in enumerate(ct_series(generate_uid(), slices=SLICES)):
            ds.save_as(study / f"{k}.dcm", enforce_file_format=True)
    return scanners


def _storescu(orthanc: OrthancServer, scanner: Path) -> list[str]:
    return ["storescu", "-R", "-aec", "ORTHANC", "127.0.0.1", str(orthanc.dicom_port), "+sd", "+r", str(scanner)]


def _clocks(orthanc: OrthancServer) -> dict[str, _Clock]:
    destination = Destination(name="orthanc", ae_title="ORTHANC", host="127.0.0.1", port=orthanc.dicom_port)
    clocks = {
        "C-ECHO": _Clock(lambda: echo(destination, "BENCHMARK", 30.0)),
        "GET /studies": _Clock(lambda: orthanc.get("/studies")),
    }
    for clock in clocks.values():
        clock.start()
    return clocks


def _report(clocks: dict[str, _Clock], words: str) -> None:
    for name, clock in clocks.items():
        print(f"{name:13} {words:35} {clock.finish()}", flush=True)


if __name__ == "__main__":
    main()
