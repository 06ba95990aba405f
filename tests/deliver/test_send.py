"""Sending to real servers, and to servers that answer badly."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import RLELossless
from pynetdicom import AE
from pynetdicom.dsutils import split_dataset
from pynetdicom.sop_class import Verification

from node.common.errors import InputError, RejectedError, TransportError
from node.deliver import Delivery, Outcome, echo, send
from tests.deliver.delivery_servers import (
    SC,
    SEG,
    SR,
    Orthanc,
    destination,
    eventually,
    free_port,
    is_open,
    make_object,
    storage_scp,
)

LABEL_MAP_SEG = "1.2.840.10008.5.1.4.1.1.66.7"


def deliver(files: list[Path], port: int, *, timeout_s: float = 20.0, **changes: str) -> Delivery:
    """Send to a port of this machine."""
    return send(files, destination(port, **changes), "BMDNODE", timeout_s)


def data_set_bytes(path: Path) -> bytes:
    """The data set of a file without its File Meta Information."""
    return path.read_bytes()[split_dataset(path)[1] :]


def test_objects_arrive_byte_for_byte(tmp_path: Path) -> None:
    program = shutil.which("storescp", path="/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("storescp is not installed (Debian package dcmtk)")
    files = [make_object(tmp_path, sop_class) for sop_class in (SEG, SR, SC)]
    arrived, port = tmp_path / "arrived", free_port()
    arrived.mkdir()
    scp = subprocess.Popen([program, "-aet", "PACS", "--bit-preserving", "-od", arrived, str(port)])
    try:
        eventually(lambda: is_open(port), "storescp listens")
        delivery = deliver(files, port)
    finally:
        scp.terminate()
        scp.wait(30)
    assert [(sent.path, sent.outcome, sent.status) for sent in delivery.objects] == [
        (path, Outcome.STORED, 0x0000) for path in files
    ]
    delivery.require_all_stored()
    assert sorted(map(data_set_bytes, arrived.iterdir())) == sorted(map(data_set_bytes, files))


def test_a_real_pacs_holds_one_copy_of_what_was_sent_twice(orthanc: Orthanc, tmp_path: Path) -> None:
    files = [make_object(tmp_path, sop_class) for sop_class in (SEG, SR, SC)]
    for _ in range(2):
        deliver(files, orthanc.dicom_port, ae_title="ORTHANC").require_all_stored()
    assert orthanc.sop_instance_uids() == sorted(pydicom.dcmread(path).SOPInstanceUID for path in files)


def test_a_class_that_a_real_pacs_refuses_does_not_keep_the_others_out(orthanc: Orthanc, tmp_path: Path) -> None:
    files = [make_object(tmp_path, sop_class) for sop_class in (LABEL_MAP_SEG, SR, SC)]
    delivery = deliver(files, orthanc.dicom_port, ae_title="ORTHANC")
    assert [sent.outcome for sent in delivery.objects] == [Outcome.REJECTED, Outcome.STORED, Outcome.STORED]
    assert len(orthanc.sop_instance_uids()) == 2
    with pytest.raises(RejectedError, match=rf"{files[0].name}.*presentation context not accepted"):
        delivery.require_all_stored()


def test_a_wrong_ae_title_is_told(orthanc: Orthanc, tmp_path: Path) -> None:
    files = [make_object(tmp_path, SC)]
    with pytest.raises(RejectedError, match="called AE title not recognised"):
        deliver(files, orthanc.dicom_port, ae_title="WRONG")
    with pytest.raises(RejectedError, match="called AE title not recognised"):
        echo(destination(orthanc.dicom_port, ae_title="WRONG"), "BMDNODE", 20.0)
    echo(destination(orthanc.dicom_port, ae_title="ORTHANC"), "BMDNODE", 20.0)
    assert orthanc.sop_instance_uids() == []


@pytest.mark.parametrize("status", [0x0122, 0x0117, 0x0124, 0xA900, 0xA9FF, 0xC000, 0xCFFF, 0x1234])
def test_a_refusal_of_one_object_lets_the_others_through(tmp_path: Path, status: int) -> None:
    files = [make_object(tmp_path, sop_class) for sop_class in (SEG, SR, SC)]
    with storage_scp({SR: status}) as (port, received):
        delivery = deliver(files, port)
    assert [sent.outcome for sent in delivery.objects] == [Outcome.STORED, Outcome.REJECTED, Outcome.STORED]
    assert [sent.status for sent in delivery.rejected] == [status]
    assert len(received) == 3
    with pytest.raises(RejectedError, match=rf"1 of 3.*{files[1].name}.*0x{status:04X}"):
        delivery.require_all_stored()


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110, 0x0213])
def test_a_destination_that_cannot_store_now_is_to_be_asked_again(tmp_path: Path, status: int) -> None:
    files = [make_object(tmp_path, sop_class) for sop_class in (SEG, SR, SC)]
    with (
        storage_scp({SEG: status}) as (port, received),
        pytest.raises(TransportError, match=rf"{files[0].name}.*0x{status:04X}"),
    ):
        deliver(files, port)
    assert [ds.SOPClassUID for ds in received] == [SEG, SR, SC]


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0x0111])
def test_a_warning_counts_as_stored_and_is_told(tmp_path: Path, status: int) -> None:
    with storage_scp({SC: status}) as (port, _):
        delivery = deliver([make_object(tmp_path, SC)], port)
    (sent,) = delivery.objects
    assert (sent.outcome, sent.status) == (Outcome.STORED_WITH_WARNING, status)
    assert f"0x{status:04X}" in sent.detail
    delivery.require_all_stored()


def test_compressed_objects_are_sent_as_they_are_or_not_at_all(tmp_path: Path) -> None:
    ds = pydicom.dcmread(make_object(tmp_path, SC))
    ds.compress(RLELossless)
    path = tmp_path / "rle.dcm"
    ds.save_as(path)
    with storage_scp(transfer_syntax=RLELossless) as (port, received):
        deliver([path], port).require_all_stored()
    assert received[0].file_meta.TransferSyntaxUID == RLELossless
    assert received[0].PixelData == ds.PixelData
    with storage_scp() as (port, received):
        delivery = deliver([path], port)
    assert [sent.outcome for sent in delivery.objects] == [Outcome.REJECTED]
    assert received == []


def test_a_destination_that_takes_none_of_the_classes_rejects_each(tmp_path: Path) -> None:
    files = [make_object(tmp_path, sop_class) for sop_class in (SEG, SR)]
    with storage_scp(sop_classes=(Verification,)) as (port, _):
        delivery = deliver(files, port)
    assert delivery.rejected == delivery.objects
    assert len(delivery.objects) == 2


def test_a_busy_destination_is_to_be_asked_again(tmp_path: Path) -> None:
    with storage_scp(max_associations=1, sop_classes=(SC, Verification)) as (port, _):
        ae = AE()
        ae.add_requested_context(Verification)
        holder = ae.associate("127.0.0.1", port, ae_title="PACS")
        assert holder.is_established
        with pytest.raises(TransportError, match="local limit exceeded"):
            deliver([make_object(tmp_path, SC)], port)
        holder.release()


def test_an_association_that_is_aborted_is_to_be_tried_again(tmp_path: Path) -> None:
    files = [make_object(tmp_path, SC), make_object(tmp_path, SR)]
    with storage_scp(aborts=True) as (port, _), pytest.raises(TransportError, match=files[0].name):
        deliver(files, port)


def test_nobody_there_is_to_be_tried_again(tmp_path: Path) -> None:
    files = [make_object(tmp_path, SC)]
    with pytest.raises(TransportError, match="pacs"):
        deliver(files, free_port())
    with pytest.raises(TransportError, match=r"nowhere\.invalid"):
        deliver(files, 104, host="nowhere.invalid")
    with pytest.raises(TransportError):
        echo(destination(free_port()), "BMDNODE", 5.0)


def test_a_destination_that_says_nothing_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TransportError, match=r"no answer within 0\.5 s"):
            deliver([make_object(tmp_path, SC)], silent.getsockname()[1], timeout_s=0.5)


def test_the_calling_ae_title_of_the_destination_goes_first(tmp_path: Path) -> None:
    with storage_scp() as (port, _):
        named = destination(port).model_copy(update={"calling_ae_title": "SPECIAL"})
        with pytest.raises(RejectedError, match="SPECIAL"):
            send([make_object(tmp_path, SC)], named.model_copy(update={"ae_title": "WRONG"}), "BMDNODE", 20.0)
        send([make_object(tmp_path, SC)], named, "BMDNODE", 20.0).require_all_stored()


def test_a_file_that_is_no_dicom_stops_everything_before_it_starts(tmp_path: Path) -> None:
    junk = tmp_path / "junk.dcm"
    junk.write_bytes(b"junk" * 100)
    with storage_scp() as (port, received):
        for bad in (junk, tmp_path / "missing.dcm"):
            with pytest.raises(InputError, match=bad.name):
                deliver([make_object(tmp_path, SC), bad], port)
        assert deliver([], port).objects == ()
    assert received == []
