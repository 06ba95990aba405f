"""The listener as dcmtk's programs see it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLSLossless, RLELossless
from pynetdicom.dsutils import split_dataset

from tests.receive.listener_process import PATIENT, Listener, ct_series, debian_tool, eventually, free_port, write_series

CT_DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "ct"

pytestmark = pytest.mark.filterwarnings("ignore:.*for VR UI")  # UIDs that are wrong on purpose


def dcmsend(listener: Listener, files: list[Path], *, calling: str = "SENDER", called: str = "BMDNODE") -> int:
    """Send files with dcmtk; the exit code is not 0 if it could not send."""
    where = ["127.0.0.1", str(listener.port)]
    command = [debian_tool("dcmsend"), "-aet", calling, "-aec", called, *where, *map(str, files)]
    return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode


def echo(listener: Listener, *, calling: str = "SENDER", called: str = "BMDNODE") -> int:
    """Verify with dcmtk; the exit code is 0 only if the listener answered with success."""
    command = [debian_tool("echoscu"), "-aet", calling, "-aec", called, "127.0.0.1", str(listener.port)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode


def data_set_bytes(path: Path) -> bytes:
    """The data set of a file without its File Meta Information."""
    return path.read_bytes()[split_dataset(path)[1] :]


def test_a_series_is_kept_byte_for_byte_and_recorded(listener: Listener, tmp_path: Path) -> None:
    series = ct_series(12)
    sent = write_series(tmp_path / "sent", series)
    assert dcmsend(listener, sent) == 0
    rows = {row.sop_instance_uid: row for row in listener.rows()}
    assert set(rows) == {ds.SOPInstanceUID for ds in series}
    for ds, file in zip(series, sent, strict=True):
        row = rows[ds.SOPInstanceUID]
        kept = listener.settings.state_dir / row.path
        assert data_set_bytes(kept) == data_set_bytes(file)
        assert row.digest == hashlib.sha256(data_set_bytes(file)).hexdigest()
        assert (row.study_instance_uid, row.series_instance_uid) == (ds.StudyInstanceUID, ds.SeriesInstanceUID)
        assert row.slice_position_mm == pytest.approx(float(ds.ImagePositionPatient[2]))
    assert len(listener.files()) == 12


def test_an_association_that_calls_another_ae_title_is_rejected(listener: Listener, tmp_path: Path) -> None:
    assert echo(listener) == 0
    assert echo(listener, called="SOMEONE") != 0
    assert dcmsend(listener, write_series(tmp_path, ct_series(1)), called="SOMEONE") != 0
    assert listener.rows() == []


def test_only_listed_calling_ae_titles_may_send(make_listener: Callable[..., Listener], tmp_path: Path) -> None:
    listener = make_listener(allowed_calling_ae_titles=("CT1", "CT2"))
    listener.start()
    files = write_series(tmp_path / "sent", ct_series(1))
    assert dcmsend(listener, files, calling="INTRUDER") != 0
    assert listener.rows() == []
    assert dcmsend(listener, files, calling="CT2") == 0
    assert len(listener.rows()) == 1


@pytest.mark.parametrize(("tool", "transfer_syntax"), [("dcmcjpls", JPEGLSLossless), ("dcmcrle", RLELossless)])
def test_compressed_images_are_kept_as_they_were_sent(
    listener: Listener, tmp_path: Path, tool: str, transfer_syntax: str
) -> None:
    (ds,) = ct_series(1)
    (plain,) = write_series(tmp_path, [ds])
    compressed = tmp_path / "compressed.dcm"
    subprocess.run([debian_tool(tool), plain, compressed], check=True)
    assert dcmsend(listener, [compressed]) == 0
    (row,) = listener.rows()
    assert row.transfer_syntax_uid == transfer_syntax
    kept = pydicom.dcmread(listener.file_of(ds.SOPInstanceUID))
    assert kept.file_meta.TransferSyntaxUID == transfer_syntax
    np.testing.assert_array_equal(kept.pixel_array, ds.pixel_array)


def test_a_real_study_in_jpeg_ls_arrives_whole(listener: Listener) -> None:
    folder = CT_DATA / "juno_wb"
    if not folder.is_dir():
        pytest.skip("../shared/data/ct/juno_wb is not there")
    files = sorted(folder.glob("*.dcm"))
    assert dcmsend(listener, files) == 0
    rows = listener.rows()
    assert {row.sop_instance_uid for row in rows} == {
        pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID for f in files
    }
    assert {row.digest for row in rows} == {hashlib.sha256(data_set_bytes(f)).hexdigest() for f in files}


def test_images_fetched_with_c_move_arrive(listener: Listener, tmp_path: Path) -> None:
    port, series = free_port(), ct_series(3)
    archive = tmp_path / "archive"
    archive.mkdir()
    config = tmp_path / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 4\n"
        f"HostTable BEGIN\nnode = (BMDNODE, 127.0.0.1, {listener.port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {archive} RW (10, 1024mb) ANY\nAETable END\n"
    )
    program = debian_tool("dcmqrscp")
    with (tmp_path / "dcmqrscp.log").open("wb") as log:
        pacs = subprocess.Popen([program, "-c", config], stdout=log, stderr=log)
    try:
        where = ["-aec", "ARCHIVE", "127.0.0.1", str(port)]
        echoscu = [debian_tool("echoscu"), *where]
        eventually(lambda: subprocess.run(echoscu, capture_output=True, check=False).returncode == 0, "dcmqrscp answers")
        files = write_series(tmp_path / "sent", series)
        subprocess.run([debian_tool("storescu"), *where, *files], check=True, timeout=60)
        query = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={series[0].StudyInstanceUID}"]
        subprocess.run([debian_tool("movescu"), "-S", "-aem", "BMDNODE", *query, *where], check=True, timeout=60)
    finally:
        pacs.terminate()
        pacs.wait(30)
    assert {row.sop_instance_uid for row in listener.rows()} == {ds.SOPInstanceUID for ds in series}


def test_the_log_names_no_patient(listener: Listener, tmp_path: Path) -> None:
    series = ct_series(3)
    series[1].StudyInstanceUID = "not a UID"
    files = write_series(tmp_path / "sent", series)
    command = [debian_tool("storescu"), "-aec", "BMDNODE", "127.0.0.1", str(listener.port), *files]
    assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode != 0
    listener.stop()
    log = listener.log.read_text()
    assert series[0].SOPInstanceUID in log
    assert "instance refused" in log
    assert PATIENT.split("^")[0] not in log
