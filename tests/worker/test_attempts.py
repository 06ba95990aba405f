"""A study that crashes uses up its own attempts, an orderly stop uses none, and permanent refusals block nothing else."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from node.cli.main import main
from node.records.report_versions import ReportVersions
from node.records.runs import DeliveryState, RunRecords, RunState
from node.records.work import Work, WorkKind, WorkRecords, WorkState
from node.settings.tree import load_settings
from node.web.metrics import WorkCollector, metrics_text
from tests.deliver.built_results import write_result
from tests.deliver.delivery_servers import SC, SEG, SR, eventually
from tests.worker.running_worker import (
    PATIENCE_S,
    at_step,
    kill_process,
    only_run,
    runs_of,
    send_phantom,
    worker,
    write_config,
)

#: Stands for a study that is not handed over yet.
NOT_YET = Work("", WorkKind.STUDY, "", "", WorkState.WAITING, 0.0, 0, 0, 0, 0, "", 0.0, 0.0)

pytestmark = [pytest.mark.timeout(600)]


def test_an_orderly_stop_in_mid_study_loses_no_image_and_fails_nothing(tmp_path: Path) -> None:
    """Even if images are removed right after their study: the study has not ended."""
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace("[study]\n", "[study]\nkeep_days = 0\n"))
    settings = load_settings(config)
    send_phantom(tmp_path, settings)
    n_images = len(list((settings.state_dir / "received").rglob("*.dcm")))
    for _ in range(4):  # more often than a study may crash
        with worker(config) as running:
            eventually(lambda: at_step(config, "segment"), "the study to be under way", PATIENCE_S)
            running.stop()
        assert only_run(config).state is RunState.RUNNING
        assert len(list((settings.state_dir / "received").rglob("*.dcm"))) == n_images
    with worker(config):
        eventually(lambda: only_run(config).state is RunState.MEASURED, "the study", PATIENCE_S)
        # it has ended now, so housekeeping may remove its images at the next start
    assert "Traceback" not in only_run(config).detail


@pytest.mark.parametrize("who", ["the process that computes", "the worker"])
def test_a_study_that_kills_is_given_up_and_the_next_one_goes_on(tmp_path: Path, who: str) -> None:
    config = write_config(tmp_path)
    settings = load_settings(config)
    send_phantom(tmp_path, settings)
    records = WorkRecords.open(settings)

    def study() -> Work:
        found = [work for state in WorkState for work in records.in_state(state)]
        return found[0] if found else NOT_YET

    if who == "the worker":
        for n_begun in range(1, 4):
            with worker(config) as running:
                # the state of the run is still that from before the last kill
                eventually(lambda n=n_begun: study().begun == n, "the study to be under way", PATIENCE_S)  # type: ignore[misc]
                running.kill()
    with worker(config) as running:
        if who != "the worker":
            for n_killed in range(1, 4):
                eventually(lambda: at_step(config, "segment"), "the study to be under way", PATIENCE_S)
                for pid in running.computing():
                    kill_process(pid)
                eventually(
                    lambda n=n_killed: study().failures >= n or study().state is WorkState.GIVEN_UP,  # type: ignore[misc]
                    "the attempt to be counted",
                    PATIENCE_S,
                )
        eventually(lambda: only_run(config).state is RunState.FAILED, "the study to be given up", PATIENCE_S)
        failed = only_run(config)
        assert "killed 3 times" in failed.detail or "SIGKILL" in failed.detail
        send_phantom(tmp_path, settings, seed=1)
        eventually(
            lambda: any(run.state is RunState.MEASURED for run in runs_of(config).values()), "the next one", PATIENCE_S
        )
        listed = CliRunner().invoke(main, ["deliveries", "list", "--config", str(config)])
        assert listed.exit_code == 1
        assert f"study>{failed.run_id}" in listed.output
        again = CliRunner().invoke(main, ["deliveries", "retry", f"study>{failed.run_id}", "--config", str(config)])
        assert again.exit_code == 0, again.output
        eventually(lambda: runs_of(config)[failed.run_id].state is RunState.MEASURED, "a person's retry", PATIENCE_S)


def test_two_results_that_are_refused_for_ever_stop_no_other(tmp_path: Path) -> None:
    refused = {"1.2.3.0", "1.2.3.1"}
    stored: list[Dataset] = []

    def on_store(event: evt.Event) -> int:
        ds = event.dataset
        if ds.StudyInstanceUID in refused:
            return 0x0110
        stored.append(ds)
        return 0x0000

    ae = AE(ae_title="PACS")
    for sop_class in (SR, SEG, SC):
        ae.add_supported_context(sop_class)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    assert server is not None
    destination = (
        f'[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {server.server_address[1]}\n'
    )
    config = write_config(tmp_path, f"give_up_after = 3\n{destination}")
    settings = load_settings(config)
    records, versions, work = RunRecords.open(settings), ReportVersions.open(settings), WorkRecords.open(settings)
    for number in range(5):
        run_id, uid, folder = f"run-{number}", f"1.2.3.{number}", tmp_path / f"run-{number}"
        folder.mkdir()
        for path in write_result(folder, run_id):
            ds = pydicom.dcmread(path)
            ds.StudyInstanceUID = uid
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID[:50]}.{number}"
            ds.save_as(path)
        records.queued(run_id, uid, folder)
        records.finished(run_id, RunState.MEASURED, "")
        versions.enter(run_id, uid, run_id, folder, 0.0)
        versions.mark_made(run_id)
        work.add(WorkKind.DELIVER, run_id, "pacs")
    try:
        with worker(config):

            def states() -> list[DeliveryState | None]:
                found = [records.run(f"run-{number}") for number in range(5)]
                return [run.deliveries[0].state if run is not None and run.deliveries else None for run in found]

            eventually(lambda: states()[2:] == [DeliveryState.STORED] * 3, "the others", PATIENCE_S)
            eventually(lambda: states()[:2] == [DeliveryState.GIVEN_UP] * 2, "the two to be given up", PATIENCE_S)
            assert b'bmd_node_given_up{kind="deliver"} 2.0' in metrics_text(records, WorkCollector(work, tmp_path))
            refused.clear()
            retried = CliRunner().invoke(main, ["deliveries", "retry", "--all", "--config", str(config)])
            assert retried.exit_code == 0, retried.output
            eventually(lambda: states() == [DeliveryState.STORED] * 5, "all, once the receiver takes them", PATIENCE_S)
    finally:
        ae.shutdown()
    uids = [str(ds.SOPInstanceUID) for ds in stored]
    assert len(uids) == len(set(uids)), "nothing came twice"
