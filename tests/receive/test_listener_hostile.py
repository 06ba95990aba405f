"""Senders that break rules, or contradict themselves."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RawDataStorage, generate_uid
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import CTImageStorage, Verification

from node.records.received import conflicts, ignored
from tests.receive.listener_process import Listener, ct_series, eventually
from tests.receive.raw_peers import ABORTED, ACCEPTED, VERIFICATION, RawPeer, command, p_data, request

pytestmark = pytest.mark.filterwarnings("ignore:.*for VR UI")  # UIDs that are wrong on purpose


@contextmanager
def association(listener: Listener, *, sop_classes: tuple[str, ...] = (CTImageStorage,)) -> Iterator[Association]:
    """An association with the listener, released in the end."""
    ae = AE(ae_title="HOSTILE")
    contexts = [build_context(sop_class, ExplicitVRLittleEndian) for sop_class in (*sop_classes, Verification)]
    assoc = ae.associate("127.0.0.1", listener.port, contexts=contexts, ae_title="BMDNODE")
    assert assoc.is_established
    yield assoc
    if assoc.is_established:
        assoc.release()


def store(
    assoc: Association,
    ds: Dataset,
    *,
    sop_instance_uid: str | None = None,
    sop_class_uid: str = CTImageStorage,
    raw: bytes = b"",
) -> Dataset:
    """C-STORE with a command set that may contradict the data set; ``raw`` goes in place of the data set."""
    assoc._reactor_checkpoint.clear()
    eventually(lambda: bool(assoc._is_paused), "reactor paused")
    for fragment in c_store_fragments(assoc, ds, sop_instance_uid, sop_class_uid, raw):
        assoc.dul.send_pdu(fragment)
    _, response = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    answer = Dataset()
    if response is not None:
        answer.Status = response.Status
    return answer


def c_store_fragments(
    assoc: Association,
    ds: Dataset,
    sop_instance_uid: str | None = None,
    sop_class_uid: str = CTImageStorage,
    raw: bytes = b"",
    max_pdu_bytes: int = 4096,
) -> list[object]:
    """The P-DATA primitives of a C-STORE request."""
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = UID(sop_class_uid)
    request.AffectedSOPInstanceUID = UID(ds.SOPInstanceUID if sop_instance_uid is None else sop_instance_uid)
    encoded = raw or encode(ds, is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    request.DataSet = io.BytesIO(encoded)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    (context_id,) = [cx.context_id for cx in assoc.accepted_contexts if cx.abstract_syntax == sop_class_uid]
    return list(message.encode_msg(context_id, max_pdu_bytes))


def test_a_sop_instance_uid_that_is_none_is_refused(listener: Listener, tmp_path: Path) -> None:
    (ds,) = ct_series(1)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with association(listener) as assoc:
        for uid in ("../../x", "/etc/passwd", "1.2.3/../4", "..", "1..2", "1.2.x", "~root"):
            assert store(assoc, ds, sop_instance_uid=uid).Status == 0x0117, uid
        assert assoc.send_c_echo().Status == 0x0000
    assert listener.rows() == []
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_data_set_without_proper_uids_is_refused(listener: Listener) -> None:
    (good,) = ct_series(1)
    with association(listener) as assoc:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
            for uid in ("../../x", "1." * 40, None):
                ds = copy.deepcopy(good)
                if uid is None:
                    delattr(ds, keyword)
                else:
                    setattr(ds, keyword, uid)
                assert store(assoc, ds).Status == 0xC000, (keyword, uid)
    assert listener.rows() == []
    assert listener.files() == set()


def test_a_data_set_that_contradicts_its_command_is_refused(listener: Listener) -> None:
    (ds,) = ct_series(1)
    with association(listener, sop_classes=(CTImageStorage, RawDataStorage)) as assoc:
        assert store(assoc, ds, sop_instance_uid=generate_uid()).Status == 0xC000
        assert store(assoc, ds, sop_class_uid=RawDataStorage).Status == 0xA900
        assert store(assoc, ds, raw=b"\xff" * 300).Status == 0xC000
        assert store(assoc, ds).Status == 0x0000
    assert len(listener.rows()) == len(listener.files()) == 1


def test_a_class_that_nobody_knows_is_stored(listener: Listener) -> None:
    (ds,) = ct_series(1)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID("1.3.12.2.1107.5.9.1")  # Siemens private
    with association(listener, sop_classes=(ds.SOPClassUID,)) as assoc:
        assert assoc.send_c_store(ds).Status == 0x0000
    assert [row.sop_class_uid for row in listener.rows()] == [ds.SOPClassUID]


def test_the_same_instance_again_is_acknowledged_and_kept_once(listener: Listener) -> None:
    (ds,) = ct_series(1)
    with association(listener) as assoc:
        assert [assoc.send_c_store(ds).Status for _ in range(3)] == [0x0000] * 3
    assert len(listener.rows()) == len(listener.files()) == 1
    assert listener.rows(conflicts) == []


def test_another_content_for_a_known_instance_is_kept_beside_it(listener: Listener) -> None:
    (first,) = ct_series(1)
    second = copy.deepcopy(first)
    second.SeriesDescription = "changed"
    with association(listener) as assoc:
        assert [assoc.send_c_store(ds).Status for ds in (first, second, second, first)] == [0x0000] * 4
    (row,) = listener.rows()
    (conflict,) = listener.studies.conflicts(first.StudyInstanceUID)
    assert listener.files() == {listener.settings.state_dir / row.path, conflict.path}
    assert "SeriesDescription" not in dcmread(listener.settings.state_dir / row.path)
    assert dcmread(conflict.path).SeriesDescription == "changed"
    listener.stop()
    assert "different content for a known instance" in listener.log.read_text()


def test_what_the_node_made_makes_no_study_when_it_comes_back(listener: Listener) -> None:
    by_model, by_uid, foreign = ct_series(3)
    by_model.ManufacturerModelName = "bmd-node"
    listener.studies.record_own_instances("run", [by_uid.SOPInstanceUID])
    with association(listener) as assoc:
        assert [assoc.send_c_store(ds).Status for ds in (by_model, by_uid, foreign)] == [0x0000] * 3
    assert {row.sop_instance_uid for row in listener.rows(ignored)} == {by_model.SOPInstanceUID, by_uid.SOPInstanceUID}
    assert [row.sop_instance_uid for row in listener.rows()] == [foreign.SOPInstanceUID]
    assert len(listener.files()) == 1


def test_too_little_room_is_answered_as_out_of_resources(make_listener: Callable[..., Listener]) -> None:
    listener = make_listener(min_free_disk_mb=10**9)
    listener.start()
    (ds,) = ct_series(1)
    with association(listener) as assoc:
        assert assoc.send_c_store(ds).Status == 0xA700
        assert assoc.send_c_echo().Status == 0x0000
    assert listener.rows() == []
    assert listener.files() == set()


def test_one_association_too_many_is_rejected_for_now(make_listener: Callable[..., Listener]) -> None:
    listener = make_listener(max_associations=1)
    listener.start()
    with association(listener):
        second = AE().associate("127.0.0.1", listener.port, contexts=[build_context(Verification)], ae_title="BMDNODE")
        assert second.is_rejected
        assert second.acceptor.primitive.result == 0x02  # transient, PS3.8 table 9-21
    eventually(lambda: _is_accepted(listener), "there is room again")


def test_c_echo_is_answered_in_the_middle_of_two_transfers(listener: Listener) -> None:
    images = ct_series(2, size=256)
    with association(listener) as one, association(listener) as two:
        halves = []
        for assoc, ds in zip((one, two), images, strict=True):
            assoc._reactor_checkpoint.clear()
            fragments = c_store_fragments(assoc, ds)
            assert len(fragments) > 20
            for fragment in fragments[:10]:
                assoc.dul.send_pdu(fragment)
            halves.append(fragments[10:])
        eventually(lambda: len(listener.files()) == 2, "both transfers have begun")
        with association(listener) as third:
            assert third.send_c_echo().Status == 0x0000
        assert listener.rows() == []
        for assoc, rest in zip((one, two), halves, strict=True):
            for fragment in rest:
                assoc.dul.send_pdu(fragment)
            _, response = assoc.dimse.get_msg(block=True)
            assert response.Status == 0x0000
            assoc._reactor_checkpoint.set()
    assert {row.sop_instance_uid for row in listener.rows()} == {ds.SOPInstanceUID for ds in images}


def test_an_aborted_transfer_leaves_no_record(listener: Listener) -> None:
    complete, partial = ct_series(2, size=256)
    with association(listener) as assoc:
        assert assoc.send_c_store(complete).Status == 0x0000
        assoc._reactor_checkpoint.clear()
        for fragment in c_store_fragments(assoc, partial)[:10]:
            assoc.dul.send_pdu(fragment)
        eventually(lambda: len(listener.files()) == 2, "the transfer has begun")
        assoc._reactor_checkpoint.set()
        assoc.abort()
    listener.stop()
    listener.start()
    assert [row.sop_instance_uid for row in listener.rows()] == [complete.SOPInstanceUID]
    assert listener.files() == {listener.file_of(complete.SOPInstanceUID)}


def test_a_request_without_sop_instance_uid_ends_only_its_own_association(listener: Listener) -> None:
    (ds,) = ct_series(1)
    with association(listener) as broken, association(listener) as other:
        assert broken.send_c_store(ds).Status == 0x0000
        broken._reactor_checkpoint.clear()
        request = C_STORE()
        request.MessageID, request.Priority, request.AffectedSOPClassUID = 1, 2, CTImageStorage
        request.DataSet = io.BytesIO(b"\x00" * 32)
        message = C_STORE_RQ()
        message.primitive_to_message(request)
        for fragment in message.encode_msg(broken.accepted_contexts[0].context_id, 4096):
            broken.dul.send_pdu(fragment)
        broken._reactor_checkpoint.set()
        eventually(lambda: "association ended: ending=aborted" in listener.log.read_text(), "its end is recorded")
        assert other.send_c_echo().Status == 0x0000
        broken.abort()


def _is_accepted(listener: Listener) -> bool:
    assoc = AE().associate("127.0.0.1", listener.port, contexts=[build_context(Verification)], ae_title="BMDNODE")
    if not assoc.is_established:
        return False
    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()
    return True


def test_a_command_without_its_data_set_type_ends_only_its_own_association(listener: Listener) -> None:
    """pynetdicom's thread would end with an exception, and the slot be taken until the association is idle for too long."""
    for broken in (command(sop_class=VERIFICATION, field=0x0030, message_id=1), command(message_id=1), b"\x00\x00\x02"):
        with RawPeer.to(listener.port) as peer:
            assert peer.asks(request())[0] == ACCEPTED
            assert peer.asks(p_data(3, broken))[0] == ABORTED
    with association(listener) as assoc:
        assert assoc.send_c_echo().Status == 0x0000
    eventually(lambda: "a message cannot be taken in" in listener.log.read_text(), "the log says so")
    assert "Traceback" not in listener.log.read_text()
