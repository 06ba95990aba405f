"""What happens before an association is accepted, and what a peer may send afterwards."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from pynetdicom.dsutils import encode

from node.receive.associate_request import RefusedRequestError, read_request
from node.receive.slots import Occupied, Slots
from tests.receive.listener_process import Listener, ct_series, eventually
from tests.receive.raw_peers import (
    ABORTED,
    ACCEPTED,
    CT_IMAGE,
    DICOM_APPLICATION,
    ECHO,
    EXPLICIT_VR,
    REJECTED,
    VERIFICATION,
    RawPeer,
    command,
    context,
    item,
    p_data,
    pdu,
    request,
    store_command,
    user_information,
)

STORE_CONTEXT = context(1, CT_IMAGE, EXPLICIT_VR)
TAKEN = {
    "NUL-padded titles": request(called=b"BMDNODE".ljust(16, b"\0"), calling=b"RAW".ljust(16, b"\0")),
    "a NUL and then blanks": request(called=b"BMDNODE\0", calling=b"RAW\0"),
    "leading blanks": request(called=b"  BMDNODE", calling=b"  RAW"),
    "an unknown sub-item": request(user=user_information(item(0x5F, b"what"))),
    "many unknown sub-items": request(user=user_information(*(item(kind, b"x" * 300) for kind in range(0x60, 0xFF)))),
    "an unknown item": request(after=item(0x99, b"what")),
    "an unknown item within a context": request(
        contexts=item(
            0x20, bytes([1, 0, 0, 0]) + item(0x30, VERIFICATION) + item(0x77, b"?") + item(0x40, b"1.2.840.10008.1.2")
        )
    ),
    "negotiation that is not offered": request(
        user=user_information(
            item(0x53, struct.pack(">HH", 0, 0)),
            item(0x54, struct.pack(">H", 17) + VERIFICATION + b"\1\1"),
            item(0x56, struct.pack(">H", 17) + VERIFICATION + b"\1"),
            item(0x58, b"\1\0" + struct.pack(">H", 1) + b"x" + struct.pack(">H", 0)),
        )
    ),
    "sub-items that are damaged": request(
        user=user_information(item(0x53, b"\1"), item(0x54, b""), item(0x55, b"\xff\xfe" * 20), item(0x58, b"\xff"))
    ),
    "no implementation class UID": request(user=item(0x50, item(0x51, struct.pack(">L", 16384)))),
    "no user information": request(user=b""),
    "an odd implementation class UID": request(user=item(0x50, item(0x51, bytes(4)) + item(0x52, b"none of your business"))),
    "padded UIDs": request(contexts=context(1, VERIFICATION + b"\0", b"1.2.840.10008.1.2 ")),
    "a context that is none beside a good one": request(
        contexts=context(3, b"\xe4\xf6\xfc") + context(5, b"1." * 60) + context(1, VERIFICATION)
    ),
    "later versions": request(version=0x0003),
}


@pytest.mark.parametrize("asked", TAKEN.values(), ids=TAKEN)
def test_what_may_be_ignored_is_ignored(asked: bytes) -> None:
    read = read_request(asked[6:])
    assert (read.called_ae_title, read.calling_ae_title) == ("BMDNODE", "RAW")
    assert read_request(read.pdu()[6:]) == read


def test_every_such_request_is_accepted_and_echo_answered(listener: Listener) -> None:
    for name, asked in TAKEN.items():
        with RawPeer.to(listener.port) as peer:
            kind, body = peer.asks(asked)
            assert kind == ACCEPTED, name
            assert body[68:][: 4 + len(DICOM_APPLICATION)] == item(0x10, DICOM_APPLICATION)
            peer.send(p_data(3, ECHO))
            assert peer.status() == 0x0000, name
    assert "Traceback" not in listener.log.read_text()


REFUSED = {
    "Latin-1 called title": (request(called="KNOCHENDICHTÄ".encode("latin-1")), (1, 1, 7)),
    "another called title": (request(called=b"OTHER"), (1, 1, 7)),
    "blank called title": (request(called=b""), (1, 1, 7)),
    "Latin-1 calling title": (request(calling="RÖNTGEN".encode("latin-1")), (1, 1, 3)),
    "UTF-8 calling title": (request(calling="RÖNTGEN".encode()), (1, 1, 3)),
    "blank calling title": (request(calling=b""), (1, 1, 3)),
    "NUL calling title": (request(calling=bytes(16)), (1, 1, 3)),
    "backslash": (request(calling=b"A\\B"), (1, 1, 3)),
    "control characters": (request(calling=b"A\nB"), (1, 1, 3)),
    "another application": (request(application=item(0x10, b"1.2.3")), (1, 1, 2)),
    "no version that is known": (request(version=2), (1, 2, 2)),
    "no contexts": (request(contexts=b""), (1, 1, 1)),
    "an even context": (request(contexts=context(2, VERIFICATION)), (1, 1, 1)),
    "an item that is longer than the PDU": (request(after=struct.pack(">BBH", 0x50, 0, 999)), (1, 1, 1)),
    "a sub-item that is longer than its item": (request(user=item(0x50, struct.pack(">BBH", 0x51, 0, 999))), (1, 1, 1)),
    "half an item": (request(after=b"\x50"), (1, 1, 1)),
    "nothing": (pdu(1, b""), (1, 1, 1)),
    "no room for an answer": (request(user=user_information(max_length=1)), (1, 1, 1)),
}


def test_what_may_not_be_ignored_is_rejected(listener: Listener) -> None:
    for name, (asked, expected) in REFUSED.items():
        with RawPeer.to(listener.port) as peer:
            kind, body = peer.asks(asked)
            assert (kind, tuple(body[1:])) == (REJECTED, expected), name
    assert "Traceback" not in listener.log.read_text()


@pytest.mark.parametrize("length", range(0, 200, 7))
def test_a_request_that_is_cut_anywhere_is_refused_or_read(length: int) -> None:
    refused = None
    try:
        read_request(request()[6:][:length])
    except RefusedRequestError as error:
        refused = error.refusal.result
    assert refused in (None, 1)


def test_what_is_no_request_is_aborted(listener: Listener) -> None:
    for sent in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        pdu(4, b""),
        struct.pack(">BBL", 1, 0, 2**32 - 1),
    ):
        with RawPeer.to(listener.port) as peer:
            assert peer.asks(sent)[0] == ABORTED, sent


def test_a_uid_of_more_than_64_characters_is_refused_and_the_next_image_stored(listener: Listener) -> None:
    (ds,) = ct_series(1)
    encoded = encode(ds, is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    with RawPeer.to(listener.port) as peer:
        assert peer.asks(request(contexts=STORE_CONTEXT))[0] == ACCEPTED
        for uid, status in (
            (b"1." * 32 + b"1", 0x0117),
            (b"1." * 300, 0x0117),
            (b"1.2.x", 0x0117),
            (ds.SOPInstanceUID.encode(), 0),
        ):
            peer.send(p_data(3, store_command(uid)) + p_data(2, encoded))
            assert peer.status() == status, uid
    eventually(lambda: len(listener.files()) == 1, "the refused ones leave nothing")
    assert len(listener.rows()) == 1


def test_a_longer_pdu_than_announced_ends_the_association(listener: Listener) -> None:
    for sent in (
        struct.pack(">BBL", 4, 0, 1024 * 1024 + 1),
        struct.pack(">BBL", 5, 0, 2**31),
        struct.pack(">BBL", 4, 0, 2**32 - 1),
    ):
        with RawPeer.to(listener.port) as peer:
            assert peer.asks(request(contexts=STORE_CONTEXT))[0] == ACCEPTED
            assert peer.asks(sent)[0] == ABORTED, sent
            assert peer.answer()[0] == 0


def test_what_does_not_fit_together_ends_the_association(listener: Listener) -> None:
    for name, sent in {
        "PDV beyond its PDU": pdu(4, struct.pack(">LBB", 5000, 1, 3) + b"x"),
        "PDV without a header": pdu(4, struct.pack(">LBB", 1, 1, 3)),
        "rest": pdu(4, struct.pack(">LBB", 2, 1, 0) + b"123"),
        "unknown PDU": pdu(0x42, b"x" * 100),
        "endless command set": b"".join(p_data(1, bytes(8192)) for _ in range(20)),
        "endless data set of C-ECHO": p_data(3, ECHO.replace(b"\x01\x01", b"\x02\x01")) + p_data(0, bytes(8192)) * 20,
    }.items():
        with RawPeer.to(listener.port) as peer:
            assert peer.asks(request())[0] == ACCEPTED
            assert peer.asks(sent)[0] == ABORTED, name


def test_an_instance_beyond_the_limit_is_aborted_and_leaves_nothing(make_listener: Callable[..., Listener]) -> None:
    listener = make_listener(max_instance_mb=2)
    listener.start()
    with RawPeer.to(listener.port) as peer:
        assert peer.asks(request(contexts=STORE_CONTEXT))[0] == ACCEPTED
        peer.send(p_data(3, store_command(b"1.2.3")))
        for _ in range(40):
            peer.send(p_data(0, bytes(65536)))
        assert peer.answer()[0] == ABORTED
    eventually(lambda: listener.files() == set(), "the part that came is removed", 5)
    assert "larger than listener.max_instance_mb" in listener.log.read_text()


def test_an_interrupted_transfer_leaves_nothing(listener: Listener) -> None:
    with RawPeer.to(listener.port) as peer:
        assert peer.asks(request(contexts=STORE_CONTEXT))[0] == ACCEPTED
        peer.send(p_data(3, store_command(b"1.2.3")) + p_data(0, bytes(65536)))
        eventually(lambda: len(listener.files()) == 1, "the transfer has begun")
    eventually(lambda: listener.files() == set(), "the part that came is removed", 5)


def test_connections_that_say_nothing_end_and_take_no_slot(make_listener: Callable[..., Listener]) -> None:
    listener = make_listener(max_associations=2, artim_s=1)
    listener.start()
    with ExitStack() as stack:
        silent = [stack.enter_context(RawPeer.to(listener.port)) for _ in range(50)]
        for number, peer in enumerate(silent):
            peer.send(request()[: number % 60])
        with RawPeer.to(listener.port) as scanner:
            assert scanner.asks(request())[0] == ACCEPTED
        began_s = time.monotonic()
        assert all(peer.answer() == (0, b"") for peer in silent)
        assert time.monotonic() - began_s < 5


def test_an_idle_association_gives_way_unless_it_has_stored(make_listener: Callable[..., Listener]) -> None:
    (ds,) = ct_series(1)
    encoded = encode(ds, is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    listener = make_listener(max_associations=2)
    listener.start()
    with RawPeer.to(listener.port) as storing, RawPeer.to(listener.port) as idle, RawPeer.to(listener.port) as scanner:
        assert storing.asks(request(contexts=STORE_CONTEXT))[0] == ACCEPTED
        storing.send(p_data(3, store_command(ds.SOPInstanceUID.encode())) + p_data(2, encoded))
        assert storing.status() == 0
        assert idle.asks(request())[0] == ACCEPTED
        time.sleep(1)
        assert scanner.asks(request())[0] == ACCEPTED
        assert idle.answer()[0] == ABORTED
        scanner.send(p_data(3, ECHO))
        assert scanner.status() == 0
        storing.send(p_data(3, store_command(ds.SOPInstanceUID.encode())) + p_data(2, encoded))
        assert storing.status() == 0


def test_an_idle_association_ends_by_itself(make_listener: Callable[..., Listener]) -> None:
    listener = make_listener(idle_timeout_s=1)
    listener.start()
    with RawPeer.to(listener.port) as peer:
        assert peer.asks(request())[0] == ACCEPTED
        assert peer.answer()[0] == ABORTED


def test_one_address_has_not_all_the_slots(make_listener: Callable[..., Listener]) -> None:
    listener = make_listener(max_associations=4, max_associations_per_address=2)
    listener.start()
    with ExitStack() as stack:

        def ask(address: str) -> tuple[int, bytes]:
            return stack.enter_context(RawPeer.to(listener.port, address)).asks(request())

        assert [ask("127.0.0.2")[0] for _ in range(2)] == [ACCEPTED, ACCEPTED]
        kind, body = ask("127.0.0.2")
        assert (kind, tuple(body[1:])) == (REJECTED, (2, 3, 2))
        assert ask("127.0.0.3")[0] == ACCEPTED


def test_an_ae_title_is_bound_to_its_addresses(make_listener: Callable[..., Listener]) -> None:
    listener = make_listener()
    bound = {"ae_title": "SCANNER", "addresses": ["127.0.0.4/32"]}
    listener.settings = type(listener.settings).model_validate({**listener.settings.model_dump(), "senders": [bound]})
    listener.start()
    for title, address, expected in (
        (b"SCANNER", "127.0.0.4", ACCEPTED),
        (b"SCANNER", "127.0.0.5", REJECTED),
        (b"OTHER", "127.0.0.5", ACCEPTED),
    ):
        with RawPeer.to(listener.port, address) as peer:
            assert peer.asks(request(calling=title))[0] == expected


def test_who_gives_way() -> None:
    def one(
        key: int, idle_s: float, *, stored: bool = False, address: str = "a", age_s: float = 30, n_bytes: int = 0
    ) -> Occupied:
        return Occupied(key, address, stored, age_s, idle_s, n_bytes)

    slots = Slots(3, 2)
    assert slots.gives_way([one(1, 9), one(2, 0), one(3, 5, address="b")], "b") == 3
    assert slots.gives_way([one(1, 0), one(2, 0), one(3, 0, address="b")], "b") is None
    assert slots.gives_way([one(1, 99, stored=True), one(2, 0.6), one(3, 0, address="b")], "c") == 2
    assert slots.gives_way([one(1, 0, stored=True), one(2, 0, stored=True), one(3, 9, address="b")], "a") is None
    # one that sends a byte now and then only keeps its slot
    assert slots.gives_way([one(1, 0.1, age_s=100, n_bytes=5000), one(2, 0), one(3, 0)], "c") == 1
    assert slots.gives_way([one(1, 0.1, age_s=100, n_bytes=5_000_000), one(2, 0), one(3, 0)], "c") is None


def test_no_patient_data_in_the_log(listener: Listener, tmp_path: Path) -> None:
    (ds,) = ct_series(1)
    encoded = encode(ds, is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    marked = encoded.replace(b"ACME", b"Zzyx").replace(b"CT", b"\xffQ")
    with RawPeer.to(listener.port) as peer:
        assert peer.asks(request(contexts=STORE_CONTEXT))[0] == ACCEPTED
        for data in (marked, marked[:200], marked.replace(b"DS", b"US"), command(field=1)):
            peer.send(p_data(3, store_command(ds.SOPInstanceUID.encode())) + p_data(2, data))
            peer.status()
    log = listener.log.read_text()
    assert "Zzyx" not in log
    assert "Quaxelbart" not in log
    assert "Traceback" not in log
