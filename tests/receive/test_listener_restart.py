"""What is left when the listener dies, and how it starts again."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import CTImageStorage

from node.common.errors import ConfigurationError
from node.receive import QuietReason, serve_listener
from node.receive.header import read_header
from node.records.received import associations
from node.settings.tree import StudySettings
from tests.receive.listener_process import Listener, ct_series, eventually, write_series


def associate(listener: Listener) -> Association:
    """An association for CT images."""
    contexts = [build_context(CTImageStorage, ExplicitVRLittleEndian)]
    assoc = AE(ae_title="CT1").associate("127.0.0.1", listener.port, contexts=contexts, ae_title="BMDNODE")
    assert assoc.is_established
    return assoc


def test_kill_in_the_middle_of_a_study_loses_nothing_that_was_acknowledged(listener: Listener, tmp_path: Path) -> None:
    series = ct_series(200)
    acknowledged: list[Dataset] = []
    killer: threading.Thread | None = None
    assoc = associate(listener)
    for ds in series:
        if len(acknowledged) == 80 and killer is None:
            killer = threading.Thread(target=listener.kill)  # comes somewhere in the next instances
            killer.start()
        if not assoc.is_established or assoc.send_c_store(ds).get("Status") != 0x0000:
            break
        acknowledged.append(ds)
    assert killer is not None
    killer.join()
    assert 80 <= len(acknowledged) < 200

    paths = {row.sop_instance_uid: listener.settings.state_dir / row.path for row in listener.rows()}
    for ds in acknowledged:
        assert read_header(paths[ds.SOPInstanceUID]).digest == _sent_digest(ds, tmp_path)
    listener.start()
    assert len(listener.rows(associations)) == 1
    assert [row.ending for row in listener.rows(associations)] == ["lost"]
    assoc = associate(listener)
    assert {assoc.send_c_store(ds).Status for ds in series} == {0x0000}
    assoc.release()
    eventually(lambda: all(row.ended_s is not None for row in listener.rows(associations)), "the release is recorded")
    assert sorted(row.sop_instance_uid for row in listener.rows()) == sorted(ds.SOPInstanceUID for ds in series)
    assert len(listener.files()) == 200
    (quiet,) = listener.studies.quiet_studies(datetime.now(UTC) + timedelta(seconds=30), StudySettings())
    assert (quiet.n_instances, quiet.reason) == (200, QuietReason.RELEASED)
    assert all(path.is_file() for path in quiet.paths)


def test_a_start_puts_in_order_what_a_crash_left(make_listener: Callable[..., Listener], tmp_path: Path) -> None:
    listener = make_listener()
    listener.start()
    recorded, unrecorded = ct_series(2)
    assoc = associate(listener)
    assert assoc.send_c_store(recorded).Status == 0x0000
    assoc.release()
    listener.stop()
    # a crash between the two leaves a file that is synced and moved, but not recorded
    kept = listener.file_of(recorded.SOPInstanceUID)
    (file,) = write_series(tmp_path / "sent", [unrecorded])
    shutil.copyfile(file, kept.with_name("unrecorded.dcm"))
    (listener.settings.state_dir / "incoming" / "tmpabc.dcm").write_bytes(b"partial")
    listener.start()
    assert {row.sop_instance_uid for row in listener.rows()} == {recorded.SOPInstanceUID, unrecorded.SOPInstanceUID}
    assert listener.files() == {kept, kept.with_name("unrecorded.dcm")}


def test_a_port_that_is_taken_is_an_error_of_the_settings(make_listener: Callable[..., Listener]) -> None:
    first = make_listener()
    first.start()
    second = make_listener(port=first.port)
    before = tempfile.tempdir
    with pytest.raises(ConfigurationError, match=rf"listener\.port.*127\.0\.0\.1:{first.port}"):
        serve_listener(second.settings, threading.Event(), lambda: None)
    assert tempfile.tempdir == before


def test_two_listeners_never_share_a_state_directory(make_listener: Callable[..., Listener]) -> None:
    first = make_listener()
    first.start()
    with pytest.raises(ConfigurationError, match="another listener"):
        serve_listener(first.settings, threading.Event(), lambda: None)


def test_stop_ends_the_listener_and_the_open_associations(listener: Listener) -> None:
    assoc = associate(listener)
    (ds,) = ct_series(1)
    assert assoc.send_c_store(ds).Status == 0x0000
    listener.stop()
    assert listener.process is not None
    assert listener.process.returncode == 0
    assert [row.ending for row in listener.rows(associations)] == ["aborted"]


def _sent_digest(ds: Dataset, folder: Path) -> str:
    (file,) = write_series(folder, [ds])
    return read_header(file).digest
