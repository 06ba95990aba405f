"""``bmd-node demo``: sends a CT to the node like a scanner, and shows the results in the PACS.

The PACS is Orthanc if it is installed, otherwise a small storage SCP in this process.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom

from node.common.errors import InputError, TransportError
from node.deliver import send
from node.demo.pacs import HOST, Pacs, free_port, running_pacs, until_it_answers
from node.model import MEASURED_LEVELS, Level
from node.phantom import PhantomParameters, PhantomTruth, make_phantom, write_series
from node.records.runs import DeliveryState, RunRecord, RunRecords, RunState
from node.select import find_dicom
from node.settings.tree import Destination, ListenerSettings, Settings, StudySettings, WebSettings

Say = Callable[[str], None]

_RESULT_S = 900.0
_POLL_S = 0.3
#: L1 to L4 of the phantom differ slightly, as in patients.
_LEVEL_OFFSETS_MG_CM3 = ((Level.L1, 4.0), (Level.L2, 0.0), (Level.L3, -3.0), (Level.L4, 5.0))


def run_demo(ct: Path | None, out: Path, density_mg_cm3: float, say: Say) -> bool:
    """Show the complete workflow on a phantom or a real CT.

    Args:
        ct: DICOM folder or file; ``None`` creates a phantom.
        out: folder for all output; output of an earlier demo is deleted.
        density_mg_cm3: of the phantom's L2.
        say: called with one line of text at a time.

    Returns:
        Whether a measured result came back to the PACS.

    Raises:
        InputError: ``ct`` contains no DICOM.
        TransportError: a part of the demo does not answer.
    """
    _empty(out)
    truth: PhantomTruth | None = None
    if ct is None:
        say("Creating a digital phantom patient ...")
        levels = tuple((level, density_mg_cm3 + offset) for level, offset in _LEVEL_OFFSETS_MG_CM3)
        phantom = make_phantom(PhantomParameters(density_mg_cm3=density_mg_cm3, level_densities_mg_cm3=levels))
        paths = write_series(phantom, out / "ct")
        truth = phantom.truth
    else:
        paths = find_dicom(ct)
    study_instance_uid = str(pydicom.dcmread(paths[0], specific_tags=["StudyInstanceUID"]).StudyInstanceUID)
    with running_pacs(out, say) as pacs:
        settings = _settings(out, pacs)
        with _node(settings, out):
            scanner = Destination(name="node", ae_title="BMDNODE", host=HOST, port=settings.listener.port)
            until_it_answers(scanner, out)
            say(f"Sending {len(paths)} files to the node by C-STORE, as a scanner would ...")
            sent = send(paths, scanner, "SCANNER", timeout_s=60.0)
            sent.require_all_stored()
            run = _wait_for_result(settings, study_instance_uid, say)
        say("")
        if run.state is not RunState.MEASURED:
            say(f"Not measured: {run.detail}")
        else:
            say(f"In the PACS ({pacs.name}), in the study of the CT:")
            for item in pacs.objects(study_instance_uid, out / "from_pacs"):
                say(f"  {item.modality:4} {item.description:40} {item.path}")
        say("")
        for line in _table(run.folder / "result.json", truth):
            say(line)
        say("")
        picture = out / "summary.png"
        shutil.copyfile(run.folder / "summary.png", picture)
        say(f"Summary page for the radiologist: {picture.absolute()}")
        return run.state is RunState.MEASURED


def _empty(out: Path) -> None:
    """Delete the output of an earlier demo, and nothing else."""
    marker = out / ".bmd-node-demo"
    if out.exists() and any(out.iterdir()):
        if not marker.exists():
            raise InputError(f"{out} is not empty and not from an earlier demo: choose another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    marker.touch()


def _settings(out: Path, pacs: Pacs) -> Settings:
    return Settings(
        state_dir=(out / "state").absolute(),
        listener=ListenerSettings(host=HOST, port=free_port()),
        study=StudySettings(stable_after_s=10.0, stable_after_release_s=1.0),
        destinations=(Destination(name="pacs", ae_title="PACS", host=HOST, port=pacs.port),),
        web=WebSettings(enabled=False),
    )


@contextmanager
def _node(settings: Settings, out: Path) -> Iterator[None]:
    """Run ``bmd-node serve`` with these settings."""
    config = out / "bmd-node.toml"
    config.write_text(_toml(settings), encoding="utf-8")
    with (out / "node.log").open("wb") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "node.cli", "serve", "--config", str(config)], stderr=log_file, stdout=log_file
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _toml(settings: Settings) -> str:
    destination = settings.destinations[0]
    return f"""# settings of the demo
state_dir = {json.dumps(str(settings.state_dir))}

[listener]
host = {json.dumps(settings.listener.host)}
port = {settings.listener.port}

[study]
stable_after_s = {settings.study.stable_after_s}
stable_after_release_s = {settings.study.stable_after_release_s}

[web]
enabled = false

[[destinations]]
name = {json.dumps(destination.name)}
ae_title = {json.dumps(destination.ae_title)}
host = {json.dumps(destination.host)}
port = {destination.port}
"""


def _wait_for_result(settings: Settings, study_instance_uid: str, say: Say) -> RunRecord:
    """Wait until the run has ended and the PACS has answered."""
    records = RunRecords.open(settings)
    deadline = time.monotonic() + _RESULT_S
    step = ""
    while time.monotonic() < deadline:
        for run in records.runs():
            if run.study_instance_uid != study_instance_uid:
                continue
            if run.step != step:
                step = run.step
                say(f"  node: {step}")
            if run.state in (RunState.FAILED, RunState.NOT_MEASURED):
                return run
            if run.deliveries and all(d.state is not DeliveryState.PENDING for d in run.deliveries):
                return run
        time.sleep(_POLL_S)
    raise TransportError(f"no result after {_RESULT_S:.0f} s, see {settings.state_dir.parent / 'node.log'}")


def _table(result_path: Path, truth: PhantomTruth | None) -> list[str]:
    """The levels of a result, with the true values of the phantom."""
    result = json.loads(result_path.read_text(encoding="utf-8"))
    head = "Level   HU mean    SD   Volume   BMD       Usable"
    lines = [head + ("   True BMD   Difference" if truth else "")]
    true_bmd = {level.level: level.density_mg_cm3 for level in truth.levels} if truth else {}
    for level in result["levels"]:
        bmd = level["bmd_mg_cm3"]
        volume_ml = level["roi_volume_mm3"] / 1000
        line = (
            f"{level['level']:5} {_number(level['hu_mean'], 9)} {_number(level['hu_sd'], 5)} {_number(volume_ml, 6)} ml "
            f"{_number(bmd, 7)} mg/cm3 {'yes' if level['usable'] else 'no':6}"
        )
        if truth:
            known = true_bmd[Level[level["level"]]]
            line += f" {known:7.1f}" + (f"   {bmd - known:+9.1f}" if bmd is not None else "")
        lines.append(line)
    mean = result["bmd_mg_cm3"]
    if mean is not None:
        low, high = result["bmd_interval_mg_cm3"]
        lines.append(
            f"Mean BMD {mean:.1f} mg/cm3 (95 % interval {low:.0f} to {high:.0f}), ACR category: {result['category']}"
        )
        if truth:
            true_mean = sum(true_bmd[level] for level in MEASURED_LEVELS) / len(MEASURED_LEVELS)
            lines.append(f"True mean BMD of the phantom: {true_mean:.1f} mg/cm3")
    elif result["hu_mean"] is not None:
        lines.append(f"Mean {result['hu_mean']:.0f} HU; no BMD")
    lines += [f"Note: {reason['detail']}" for reason in result["reasons"]]
    return lines


def _number(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.1f}"
