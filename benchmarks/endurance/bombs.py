"""Files, PDUs and messages that cost far more than they are, sent to a whole node; then a good study must be measured.

Each comes over the network, through the listener and the worker. Of every process the peak of its memory and the processor
time are read from ``/proc``.
"""

from __future__ import annotations

import copy
import signal
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, generate_uid
from pynetdicom import AE
from pynetdicom import _config as pynetdicom_config

from benchmarks.endurance import forks
from benchmarks.endurance.receiver import Mood
from benchmarks.endurance.site import MEASURED, Outcome, Site
from node.phantom import make_phantom, write_series
from node.plans import serve_intake
from node.receive import serve_listener
from node.receive.associate_request import AssociateRequest, ProposedContext
from node.records.runs import RunState
from node.web import serve_web

_MB = 1 << 20
_CT = "1.2.840.10008.5.1.4.1.1.2"
_IMPLICIT_VR = "1.2.840.10008.1.2"
#: What the project promises.
MOST_MB, MOST_S = 1024, 10.0
_PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one bomb cost.

    Attributes:
        name: of the bomb.
        peak_mb: the highest resident memory of a single process of the node.
        cpu_s: processor time of all of them.
        seconds: until the node was done with it.
        answer: what became of it.
    """

    name: str
    peak_mb: int
    cpu_s: float
    seconds: float
    answer: str

    @property
    def is_within_limits(self) -> bool:
        """Whether it cost no more than promised. Time is processor time, so that a busy machine does not count."""
        return self.peak_mb <= MOST_MB and self.cpu_s <= MOST_S

    def __str__(self) -> str:
        """For people."""
        return f"{self.name}: {self.answer}, {self.peak_mb} MB, {self.cpu_s:.1f} s of processor time in {self.seconds:.0f} s"


@dataclass
class _Node:
    """A whole node, each part in a process of its own."""

    site: Site
    pids: dict[str, int]
    dicom: int
    hl7: int
    web: int

    def processes(self) -> list[int]:
        return [*self.pids.values(), *forks.computing()]


def attack(folder: Path, rounds: int, database_url: str | None, _seed: int) -> Outcome:
    """Send every bomb so often, each followed by nothing; at the end a good study."""
    start_s = time.monotonic()
    ports = [_free_port() for _ in range(3)]
    more = (
        f'host = "127.0.0.1"\nport = {ports[0]}\n[plans_hl7]\nenabled = true\nhost = "127.0.0.1"\nport = {ports[1]}\n'
        f"[web]\nport = {ports[2]}\n"
    )
    site = Site(folder, database_url, network=True, more=more)
    site.receiver.be(Mood.GOOD)
    node = _Node(site, _start(site), *ports)
    for port in ports:
        _wait_until(lambda port=port: _listens(port), "the node")  # type: ignore[misc]
    _wait_until(lambda: bool(forks.computing()), "the worker")
    write_series(make_phantom(MEASURED), folder / "good")
    good = [pydicom.dcmread(path) for path in sorted((folder / "good").glob("*.dcm"))]
    costs = [_cost(node, name, send, good, folder) for _ in range(rounds) for name, send in _BOMBS.items()]
    bombs = {run.run_id for run in site.runs}
    _store(node, sorted((folder / "good").glob("*.dcm")))
    good_s = time.monotonic()
    _wait_until(
        lambda: any(run.run_id not in bombs and run.state is RunState.MEASURED for run in site.runs), "the good study"
    )
    good_s = time.monotonic() - good_s
    site.n_studies = len(site.runs)
    outcome = site.outcome(
        "bombs through the whole node, then a good study", time.monotonic() - start_s, site.settle(node.pids["worker"])
    )
    for pid in node.pids.values():
        forks.kill(pid)
    outcome.attacks = len(costs)
    outcome.where = {one.name: 1 for one in costs if not one.is_within_limits}
    outcome.stuck += sum(not one.is_within_limits for one in costs)
    outcome.notes = "; ".join([*map(str, costs), f"the good study was measured {good_s:.0f} s later"])
    site.close()
    return outcome


def _start(site: Site) -> dict[str, int]:
    def part(serve: Callable[[threading.Event], object]) -> int:
        def run() -> None:
            stop = threading.Event()
            signal.signal(signal.SIGTERM, lambda *_: stop.set())
            serve(stop)

        return forks.fork(run, site.log)

    settings = site.settings
    pids = {"worker": site.start()}
    pids["listener"] = part(lambda stop: serve_listener(settings, stop, lambda: None))
    pids["intake"] = part(lambda stop: serve_intake(settings, stop, lambda: None))
    pids["web"] = part(lambda stop: serve_web(settings, stop))
    return pids


def _cost(
    node: _Node, name: str, send: Callable[[_Node, list[Dataset], Path], str], good: list[Dataset], folder: Path
) -> Cost:
    before = {pid: forks.used_cpu_s(pid) for pid in node.processes()}
    for pid in before:
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    start_s = time.monotonic()
    answer = send(node, copy.deepcopy(good), folder / name.replace(" ", "-"))
    seconds = time.monotonic() - start_s
    after = node.processes()
    peak_mb = max(_peak_mb(pid) for pid in after)
    return Cost(name, peak_mb, sum(forks.used_cpu_s(pid) - before.get(pid, 0.0) for pid in after), seconds, answer)


def _series(change: Callable[[Dataset], None], n: int = 40) -> Callable[[_Node, list[Dataset], Path], str]:
    """A study of its own, each image of which is changed."""

    def send(node: _Node, series: list[Dataset], folder: Path) -> str:
        folder.mkdir(parents=True)
        study, uid = generate_uid(), generate_uid()
        for ds in series[:n]:
            ds.StudyInstanceUID, ds.SeriesInstanceUID = study, uid
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            change(ds)
            ds.save_as(folder / f"{ds.SOPInstanceUID}.dcm")
        return _through(node, study, sorted(folder.iterdir()))

    return send


def _through(node: _Node, study: str, files: list[Path]) -> str:
    """Store files, and wait until their study is over."""
    n_stored = _store(node, files)
    if not n_stored:
        return "the listener refuses it"

    def run_of() -> list[RunState]:
        return [run.state for run in node.site.runs if run.study_instance_uid == study]

    _wait_until(lambda: bool(run_of()) and run_of()[0] not in (RunState.QUEUED, RunState.RUNNING), f"{study}")
    return f"stored, then {run_of()[0].value}"


def _store(node: _Node, files: list[Path]) -> int:
    """C-STORE each file as it is. Returns how many were stored."""
    pynetdicom_config.STORE_SEND_CHUNKED_DATASET = True
    ae = AE(ae_title="SCANNER")
    # not the data set, which may be a bomb
    for syntax in {read_file_meta_info(path).TransferSyntaxUID for path in files}:
        ae.add_requested_context(_CT, syntax)
    association = ae.associate("127.0.0.1", node.dicom, ae_title="BMDNODE")
    n_stored = 0
    if association.is_established:
        for path in files:
            with suppress(ValueError, RuntimeError):
                n_stored += association.send_c_store(path).get("Status", -1) == 0
        association.release()
    return n_stored


def _deflated(node: _Node, series: list[Dataset], folder: Path) -> str:
    """8 MB that inflate to 8 GB of pixels."""
    folder.mkdir(parents=True)
    ds = series[0]
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    del ds.PixelData
    ds.save_as(folder / "head.dcm")
    head = (folder / "head.dcm").read_bytes()
    start = head.index(b"DICM") + 4 + 12 + struct.unpack("<L", head[head.index(b"DICM") + 12 :][:4])[0]
    (folder / "head.dcm").unlink()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = deflater.compress(head[start:] + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 2**32 - 2))
    first += deflater.flush(zlib.Z_FULL_FLUSH)
    zeros = deflater.compress(bytes(64 * _MB)) + deflater.flush(zlib.Z_FULL_FLUSH)
    with (folder / "bomb.dcm").open("wb") as file:
        file.write(bytes(128) + b"DICM")
        write_file_meta_info(file, ds.file_meta)
        file.write(first)
        for _ in range(128):  # after a full flush, a block stands alone
            file.write(zeros)
        file.write(deflater.flush())
    return _through(node, str(ds.StudyInstanceUID), [folder / "bomb.dcm"])


def _j2k(side: int) -> Callable[[Dataset], None]:
    """A JPEG 2000 stream that announces a picture of this size and holds nothing."""
    siz = struct.pack(">HHLLLLLLLLH", 41, 0, side, side, 0, 0, side, side, 0, 0, 1) + b"\x0f\x01\x01"
    cod = struct.pack(">HBBHBBBBBB", 12, 0, 0, 1, 0, 5, 4, 4, 0, 1)
    stream = b"\xff\x4f\xff\x51" + siz + b"\xff\x52" + cod + b"\xff\x5c\x00\x13\x40" + bytes(16) + b"\xff\xd9"

    def change(ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
        ds.PixelData = encapsulate([stream])
        ds["PixelData"].is_undefined_length = True
        ds["PixelData"].VR = "OB"

    return change


def _rows(ds: Dataset) -> None:
    ds.Rows = ds.Columns = 40000


def _spacing(ds: Dataset) -> None:
    ds.PixelSpacing = [5000, 5000]


def _request() -> bytes:
    return AssociateRequest("BMDNODE", "HOSTILE", (ProposedContext(1, _CT, (_IMPLICIT_VR,)),), 16384, "1.2.3", "").pdu()


def _pdu(node: _Node, _series: list[Dataset], _folder: Path) -> str:
    """A P-DATA-TF of 2 GB after an association: sent until the listener has enough."""
    return _flood(node.dicom, _request(), struct.pack(">BBL", 4, 0, 2**31 - 1), bytes(_MB))


def _endless(node: _Node, _series: list[Dataset], _folder: Path) -> str:
    """A C-STORE whose data set never ends."""
    uid = b"1.2.840.10008.5.1.4.1.1.2\0"
    command = b"".join(
        struct.pack("<HHL", 0, element, len(value)) + value
        for element, value in (
            (0x0002, uid), (0x0100, b"\x01\0"), (0x0110, b"\x01\0"), (0x0700, b"\0\0"), (0x0800, b"\x01\0"),
            (0x1000, b"1.2.3\0"),
        )
    )  # fmt: skip
    command = struct.pack("<HHLL", 0, 0, 4, len(command)) + command
    first = struct.pack(">BBLLBB", 4, 0, len(command) + 6, len(command) + 2, 1, 3) + command
    piece = struct.pack(">BBLLBB", 4, 0, 16378, 16374, 1, 0) + bytes(16372)
    return _flood(node.dicom, _request(), first, piece * 64)


def _flood(port: int, request: bytes, first: bytes, piece: bytes) -> str:
    n_bytes = 0
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.settimeout(30)
        connection.sendall(request)
        connection.recv(4096)
        try:
            connection.sendall(first)
            while n_bytes < 8 << 30:
                connection.sendall(piece)
                n_bytes += len(piece)
        except OSError:
            return f"ended after {n_bytes >> 20} MB"
    return "taken without end"


def _hl7(node: _Node, _series: list[Dataset], _folder: Path) -> str:
    """1 MB of component separators in a scheduling message."""
    text = b"MSH|^~\\&|KIS|SUED|BMD|NODE|20300101||SIU^S12|1|P|2.5\rPID|" + b"^" * 1_000_000 + b"\r"
    with socket.create_connection(("127.0.0.1", node.hl7), 30) as connection:
        connection.settimeout(60)
        connection.sendall(b"\x0b" + text + b"\x1c\x0d")
        answer = connection.recv(65536)
    return "refused" if b"MSA|AR" in answer or b"MSA|AE" in answer else "taken" if b"MSA|AA" in answer else "no answer"


def _web(node: _Node, _series: list[Dataset], _folder: Path) -> str:
    """A form of 2 GB."""
    head = b"POST /alert HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    with socket.create_connection(("127.0.0.1", node.web), 30) as connection:
        connection.settimeout(60)
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        piece = b"100000\r\n" + bytes(_MB) + b"\r\n"
        n = 0
        with suppress(OSError):
            for n in range(2048):  # noqa: B007 - how far it came
                connection.sendall(piece)
        with suppress(OSError):
            answer = connection.recv(100)
            return f"{answer.split(b' ')[1].decode()} after {n} MB" if answer else f"ended after {n} MB"
    return f"ended after {n} MB"


_BOMBS: dict[str, Callable[[_Node, list[Dataset], Path], str]] = {
    "deflated, 8 GB": _deflated,
    "JPEG 2000 of 60000 x 60000": _series(_j2k(60000)),
    "40000 rows": _series(_rows),
    "pixels of 5 m": _series(_spacing),
    "PDU of 2 GB": _pdu,
    "endless C-STORE": _endless,
    "HL7 of 1 MB of ^": _hl7,
    "web form of 2 GB": _web,
}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    give_up_s = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > give_up_s:
            raise TimeoutError(f"waited for {what}")
        time.sleep(0.2)


def _peak_mb(pid: int) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:")), 0)
    return 0
