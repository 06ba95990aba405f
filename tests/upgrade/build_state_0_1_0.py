"""Create the test data of an installation of 0.1.0: ``state-0.1.0.tar.xz`` and two files for PostgreSQL.

Run with a checkout of 0.1.0 (cab22a1), in an environment with its requirements::

    git clone --no-checkout . /tmp/node-0.1.0 && git -C /tmp/node-0.1.0 checkout cab22a1
    python tests/upgrade/build_state_0_1_0.py /tmp/node-0.1.0

This takes some minutes, and needs dcmtk and PostgreSQL. That version itself creates every row and every file: a listener
receives images from storescu, a worker is killed during its work, storescp is the first PACS, nothing listens at the port of
the second PACS, and a small HTTP server receives the alerts. All patients are phantoms. For each kind of database, the
following happens (:func:`_live`):

* Patient B has an operation (HL7). Study B1 comes from a scanner with an equation of the site, is measured and delivered.
  An alert goes to the first receiver and, since nobody acknowledges it, to the second one. The images are removed
  (keep_days). The equation is corrected, ``bmd-node recalculate`` reissues the report, which is delivered, and the alert is
  corrected.
* Patients A and C have operations in a theatre list with a line that cannot be read. A1 and, nearly a year later, A2 are
  measured and delivered, with alerts; the alert of A is acknowledged. One image arrives again with other pixels, and a
  report of the node comes back from the PACS.
* Study N1 of patient N shows no lumbar spine: it is not measured, and run again on request.
* The receiver of the alerts goes down, and the operation of A is moved: the corrections wait.
* Studies C1 and D1 arrive. While one is running and the other waits in the queue, everything is killed (SIGKILL).
* The listener alone receives study E1, which no worker has seen.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import lzma
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import pydicom
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parent))
from old_state import (
    OLD_INSTALLATION,
    PORTS,
    POSTGRES_DUMP,
    POSTGRES_STATE,
    SQLITE_STATE,
    fresh_database,
    settings_file,
)

#: Module names of 0.1.0; composed of parts, so that no tool confuses them with current modules.
PACKAGE = "node"
PATIENCE_S = 240.0
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
#: excludes programs that pynetdicom installs under the same names as dcmtk
DCMTK_PATH = os.pathsep.join(
    part for part in os.environ.get("PATH", "").split(os.pathsep) if Path(part) != Path(sys.executable).parent
)

EQUATION = """
[[equation]]
id = "ours"
manufacturer = ["Testmaker"]
model = ["Unit 1"]
kvp = 120
device_serial_number = "PHANTOM"
slope = {slope}
intercept = 0.0
material = "HA"
source = "own phantom"
status = "active"
approved_by = "A. Physicist"
approved_on = 2026-01-01
"""
#: About 100 mg/cm3 in the phantom of B1 with the first, about 72 with the second.
FIRST_SLOPE, CORRECTED_SLOPE = 0.78, 0.56

COLUMNS = "operation_id;date;time;patient_id;family_name;given_name;birth_date;code;procedure;surgeon"
OPERATION_OF_A = "OP-A;{date};08:00;PHANTOM-A;PHANTOM;ANNA;01.01.1956;5-836.40;PLIF L4/5;Schraube, Petra"
OPERATION_OF_C = "OP-C;20.04.2090;10:30;PHANTOM-C;PHANTOM;CARLA;03.03.1950;5-836.40;TLIF L3-L5;Schraube, Petra"
LINE_WITHOUT_DATE = "OP-X;;09:00;PHANTOM-X;PHANTOM;XENIA;01.01.1950;5-836.40;PLIF L4/5;Schraube, Petra"
#: An operation of patient B.
SCHEDULED = "\r".join(
    (
        r"MSH|^~\&|KIS|HOSPITAL|||20261001090000+0200||SIU^S12^SIU_S12|C1|P|2.5.1",
        "SCH|P1|OP-B^KIS|||||^PLIF||||^^^20900310080000^20900310110000",
        "PID|1||PHANTOM-B^^^1.2.276.0.76.3.999^PI||PHANTOM^BERTA||19500202|F",
        "RGS|1|A",
        "AIS|1|A|5-836.40^PLIF L4/5^OPS",
        "AIP|1|A|17^Schraube^Petra^^^^^^KIS|Operateur",
        "",
    )
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="of version 0.1.0")
    parser.add_argument("--only", choices=["sqlite", "postgres"], help="make these files alone")
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    with tempfile.TemporaryDirectory(prefix="bmd-node-build-") as folder:
        images = Images(checkout, Path(folder))
        if options.only != "postgres":
            with closing(Installation(checkout, None)) as installation:
                _live(installation, images, Path(folder) / "sqlite")
            _shrink_sqlite(installation.state)
            _pack(SQLITE_STATE)
            shutil.rmtree(OLD_INSTALLATION)
        if options.only != "sqlite":
            with _postgres() as url:
                with closing(Installation(checkout, url)) as installation:
                    _live(installation, images, Path(folder) / "postgres")
                _dump(url)
                _pack(POSTGRES_STATE)
                shutil.rmtree(OLD_INSTALLATION)


class Images:
    """The studies to send: phantoms without noise and with coarse voxels, so that the files are small."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        # not the node that is installed here, which may be a later one
        sys.path.insert(0, str(checkout))
        node = import_module(PACKAGE)
        assert node.__version__ == "0.1.0"
        assert Path(str(node.__file__)).is_relative_to(checkout)
        phantom, fields = import_module(f"{PACKAGE}.phantom"), import_module(f"{PACKAGE}.phantom.parameters")
        self._folder, self._derived_uid = folder, import_module(f"{PACKAGE}.uids").derived_uid
        lumbar = fields.FieldOfView((0.0, 25.0, -5.0), (130.0, 140.0, 230.0))
        thorax = fields.FieldOfView((0.0, 25.0, 170.0), (140.0, 150.0, 90.0))
        self._series = {}
        for name, density, field_of_view in (("low", 100.0, lumbar), ("lower", 75.0, lumbar), ("thorax", 100.0, thorax)):
            parameters = phantom.PhantomParameters(
                density_mg_cm3=density,
                field_of_view=field_of_view,
                pixel_spacing_mm=2.0,
                slice_distance_mm=3.0,
                noise_sd_hu=0.0,
            )
            self._series[name] = phantom.write_series(phantom.make_phantom(parameters), folder / name)
        self.a1 = self._study("low", "A1", "ANNA", "19560101", "20250304")
        self.a2 = self._study("lower", "A2", "ANNA", "19560101", "20260210")
        self.b1 = self._study("low", "B1", "BERTA", "19500202", "20260112", "Testmaker", "Unit 1")
        self.c1 = self._study("low", "C1", "CARLA", "19500303", "20260315")
        self.d1 = self._study("lower", "D1", "DORA", "19520404", "20260316")
        self.n1 = self._study("thorax", "N1", "NORA", "19540505", "20260317")
        self.e1 = self._study("thorax", "E1", "EMMA", "19550606", "20260318")
        self.changed_image_of_a1 = self._changed(self.a1)

    def uid(self, study: str) -> str:
        """Study Instance UID."""
        return str(self._derived_uid("state of 0.1.0", "study", study))

    def _study(
        self, series: str, study: str, given_name: str, birth_date: str, date: str, maker: str = "", model: str = ""
    ) -> Path:
        folder = self._folder / study
        folder.mkdir()
        for path in self._series[series]:
            ds = pydicom.dcmread(path)
            ds.StudyInstanceUID = self.uid(study)
            for keyword in ("SeriesInstanceUID", "FrameOfReferenceUID"):
                ds[keyword].value = self._derived_uid("state of 0.1.0", study, keyword)
            ds.SOPInstanceUID = self._derived_uid("state of 0.1.0", study, path.name)
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = date
            ds.PatientID, ds.IssuerOfPatientID = f"PHANTOM-{study[0]}", "HOSPITAL"
            ds.PatientName, ds.PatientBirthDate = f"PHANTOM^{given_name}", birth_date
            ds.PatientAge = f"{int(date[:4]) - int(birth_date[:4]) - (date[4:] < birth_date[4:]):03d}Y"
            ds.StudyID, ds.AccessionNumber = study, f"ACC-{study}"
            if maker:
                ds.Manufacturer, ds.ManufacturerModelName = maker, model
            ds.save_as(folder / path.name, enforce_file_format=True)
        return folder

    def _changed(self, study: Path) -> Path:
        path = min(study.iterdir())
        ds = pydicom.dcmread(path)
        ds.PixelData = bytes(2) + ds.PixelData[2:]
        changed = self._folder / "changed" / path.name
        changed.parent.mkdir()
        ds.save_as(changed, enforce_file_format=True)
        return changed.parent


class Installation:
    """A node of version 0.1.0: its settings, SQL access to its records, and actions of an administrator."""

    def __init__(self, checkout: Path, database_url: str | None) -> None:
        self._checkout = checkout
        # fails if the folder exists, so that no foreign folder is overwritten
        OLD_INSTALLATION.mkdir()
        self.state = OLD_INSTALLATION / "state"
        self.theatre = OLD_INSTALLATION / "theatre"
        self.theatre.mkdir()
        self.use_equation(FIRST_SLOPE)
        (OLD_INSTALLATION / "webhook.secret").write_text(f"whsec_{b64encode(secrets.token_bytes(32)).decode()}")
        self.config = settings_file(self.state, database_url)
        self.engine = sa.create_engine(database_url or f"sqlite:///{self.state / 'bmd-node.sqlite'}")
        # with PostgreSQL, DBOS uses a separate schema in the same database
        in_dbos = "dbos." if database_url else ""
        self.workflows = self.engine if database_url else sa.create_engine(f"sqlite:///{self.state / 'workflows.sqlite'}")
        self.workflow_status = f"{in_dbos}workflow_status"
        self._process: subprocess.Popen[bytes] | None = None

    def use_equation(self, slope: float) -> None:
        (OLD_INSTALLATION / "equations.toml").write_text(EQUATION.format(slope=slope))

    def put_theatre_list(self, name: str, *lines: str) -> None:
        (self.theatre / f"{name}.csv").write_text("\n".join((COLUMNS, *lines, "")))
        self.wait_until(lambda: not (self.theatre / f"{name}.csv").exists(), "the theatre list to be read")

    def start(self, command: str, **environment: str) -> None:
        """Start a process in a new process group, and wait until it answers on its ports."""
        with (OLD_INSTALLATION.parent / "bmd-node-build.log").open("ab") as log_file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{PACKAGE}.cli", command, "--config", str(self.config)],
                cwd=self._checkout,
                env={**os.environ, **environment},
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
            )
        for port in ("LISTENER_PORT", "HL7_PORT", "WEB_PORT") if command == "serve" else ("LISTENER_PORT",):
            self.wait_until(lambda port=port: _answers(PORTS[port]), f"{command} to listen at {port}")

    def stop(self, kill: bool = False) -> None:
        """Stop the process as an administrator would, or kill it as a power failure would."""
        assert self._process is not None
        if kill:
            os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def close(self) -> None:
        """Kill a running process, and close the database."""
        if self._process is not None and self._process.poll() is None:
            self.stop(kill=True)
        self.engine.dispose()
        self.workflows.dispose()

    def command(self, *arguments: str) -> str:
        """Run ``bmd-node`` and return its output."""
        done = subprocess.run(
            [sys.executable, "-m", f"{PACKAGE}.cli", *arguments, "--config", str(self.config)],
            cwd=self._checkout,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def send(self, *folders: Path) -> None:
        """Send images as the scanner does, in one association."""
        titles = ("-aet", "SCANNER1", "-aec", "BMDNODE")
        _dcmtk("storescu", "-R", *titles, "+sd", "127.0.0.1", str(PORTS["LISTENER_PORT"]), *folders)

    def rows(self, query: str, **values: str) -> list[tuple[object, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), values)]

    def workflows_in(self, status: str, name_ends: str) -> int:
        """Return the number of workflows in a state, for one kind (the end of the name of its function)."""
        query = f"SELECT count(*) FROM {self.workflow_status} WHERE status = :status AND name LIKE :name"  # noqa: S608
        with self.workflows.connect() as connection:
            found = connection.execute(sa.text(query), {"status": status, "name": f"%{name_ends}"}).scalar_one()
        return int(found)

    def wait_until(self, condition: Callable[[], object], what: str, pause_s: float = 0.2) -> None:
        print("   ", what, flush=True)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            # before the node has created its tables
            with contextlib.suppress(sa.exc.DatabaseError):
                if condition():
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {PATIENCE_S:.0f} s for {what}")
            time.sleep(pause_s)

    def wait_until_delivered(self, uid: str, count: int = 1) -> None:
        query = (
            "SELECT 1 FROM deliveries JOIN runs ON runs.run_id = deliveries.run_id"
            " WHERE destination = 'pacs' AND deliveries.state = 'stored' AND study_instance_uid = :uid"
        )
        self.wait_until(lambda: len(self.rows(query, uid=uid)) == count, f"{count} delivered reports of {uid}")

    def wait_until_told(self, uid: str, revision: int) -> None:
        """Wait until both receivers have this message, or a later one, about a study."""
        query = (
            "SELECT DISTINCT channel FROM alert_messages"
            " WHERE study_instance_uid = :uid AND state = 'taken' AND revision >= :revision"
        )
        self.wait_until(lambda: len(self.rows(query.replace(":revision", str(revision)), uid=uid)) == 2, f"alerts of {uid}")


def _live(node: Installation, images: Images, pacs_folder: Path) -> None:
    """Run all events of the installation; see the docstring of this module."""
    pacs_folder.mkdir()
    print(f"{node.engine.dialect.name}: {OLD_INSTALLATION}", flush=True)
    with _pacs(pacs_folder):
        with _receiver_of_alerts():
            node.start("serve")
            _send_hl7(SCHEDULED)
            node.send(images.b1)
            node.wait_until_delivered(images.uid("B1"))
            node.wait_until_told(images.uid("B1"), 1)
            node.stop()

            node.start("serve", BMD_NODE_STUDY__KEEP_DAYS="0")
            node.wait_until(lambda: not list(node.state.glob("received/*/*.dcm")), "the images of B1 to be removed")
            node.stop()

            node.use_equation(CORRECTED_SLOPE)
            node.start("serve")
            assert "1 reports issued again" in node.command("recalculate", "--since", "2020-01-01")
            node.wait_until_delivered(images.uid("B1"), 2)
            node.wait_until_told(images.uid("B1"), 2)

            first_plan = OPERATION_OF_A.format(date="12.04.2090")
            node.put_theatre_list("monday", first_plan, OPERATION_OF_C, LINE_WITHOUT_DATE)
            node.send(images.a1)
            node.wait_until_delivered(images.uid("A1"))
            node.wait_until_told(images.uid("A1"), 1)
            node.send(images.changed_image_of_a1)
            node.send(images.a2)
            node.wait_until_delivered(images.uid("A2"))
            node.wait_until_told(images.uid("A2"), 2)
            [(alert_id,)] = node.rows(
                "SELECT DISTINCT alert_id FROM alert_messages WHERE study_instance_uid = :uid AND channel = 'webhook'",
                uid=images.uid("A2"),
            )
            node.command("alerts", "acknowledge", str(alert_id))
            [report, *_] = sorted(pacs_folder.glob("SR*"))
            back = pacs_folder / "back"
            back.mkdir()
            shutil.copy(report, back)
            node.send(back)

            node.send(images.n1)
            not_measured = "SELECT 1 FROM runs WHERE state = 'not_measured'"
            node.wait_until(lambda: node.rows(not_measured), "N1 not to be measured")
            node.command("rerun", images.uid("N1"))
            node.wait_until(lambda: len(node.rows(not_measured)) == 2, "N1 not to be measured again")

        node.put_theatre_list("tuesday", OPERATION_OF_A.format(date="19.04.2090"), OPERATION_OF_C)
        waiting = "SELECT 1 FROM alert_messages WHERE state = 'pending' AND attempts > 0"
        node.wait_until(lambda: len(node.rows(waiting)) == 2, "two corrections that nobody takes")

        node.send(images.c1, images.d1)
        node.wait_until(
            lambda: (
                # both are marked as handed over, and neither has ended
                len(node.rows("SELECT 1 FROM received_handovers WHERE finished_s IS NULL")) == 2
                and node.rows("SELECT 1 FROM runs WHERE state = 'running'")
                and node.workflows_in("PENDING", ".study") == 1
                and node.workflows_in("ENQUEUED", ".study") == 1
            ),
            "one study to be worked on, and one to wait",
            0.01,
        )
        node.stop(kill=True)
        node.wait_until(lambda: not any(_answers(PORTS[name]) for name in ("LISTENER_PORT", "HL7_PORT")), "the end of all")
        node.start("listener")
        node.send(images.e1)
        node.stop(kill=True)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _dcmtk(program: str, *arguments: str | Path) -> None:
    subprocess.run([program, *map(str, arguments)], check=True, env={**os.environ, "PATH": DCMTK_PATH})


@contextmanager
def _pacs(folder: Path) -> Iterator[None]:
    """Run the first PACS; the second one never exists."""
    command = [shutil.which("storescp", path=DCMTK_PATH) or "storescp", "-aet", "PACS", "-od", folder, PORTS["PACS_PORT"]]
    process = subprocess.Popen([str(part) for part in command])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _receiver_of_alerts() -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", PORTS["WEBHOOK_PORT"]), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _send_hl7(message: str) -> None:
    """Send a message over MLLP."""
    with socket.create_connection(("127.0.0.1", PORTS["HL7_PORT"]), 10) as connection:
        connection.sendall(b"\x0b" + message.encode() + b"\x1c\r")
        answer = connection.recv(10_000)
    assert b"MSA|AA" in answer, answer


@contextmanager
def _postgres() -> Iterator[str]:
    """Start a PostgreSQL server with an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="bmd-node-build-postgres-"))
    account: dict[str, str] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres")
        account = {"user": "postgres"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    init = [PROGRAMS[-1] / "initdb", "-D", data, "-U", "test", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(init, check=True, stdout=subprocess.DEVNULL, cwd=folder, **account)  # type: ignore[call-overload]
    server = [PROGRAMS[-1] / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
    process = subprocess.Popen(server, stderr=subprocess.DEVNULL, cwd=folder, **account)  # type: ignore[call-overload]
    try:
        url = f"postgresql+psycopg://test@127.0.0.1:{port}/postgres"
        for _ in range(200):
            time.sleep(0.2)
            with contextlib.suppress(sa.exc.OperationalError):
                url = fresh_database(url, "bmdnode")
                break
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(folder)


def _dump(url: str) -> None:
    dump = subprocess.run(
        [
            PROGRAMS[-1] / "pg_dump",
            "--no-owner",
            "--no-privileges",
            # so that any driver can restore it, not psql alone
            "--inserts",
            sa.engine.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False),
        ],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    POSTGRES_DUMP.write_bytes(lzma.compress(dump, preset=9 | lzma.PRESET_EXTREME))
    print(f"{POSTGRES_DUMP}: {POSTGRES_DUMP.stat().st_size} bytes", flush=True)


def _shrink_sqlite(state: Path) -> None:
    """Merge the write-ahead logs of the killed processes into the databases, and remove empty pages."""
    for path in state.glob("*.sqlite"):
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for name in ("-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)


def _pack(archive: Path) -> None:
    """Pack the whole installation except its settings file, which is beside the archive.

    Only one ``summary.png`` is included: it repeats the page of ``summary.dcm`` and does not compress.
    """
    pictures = sorted(OLD_INSTALLATION.glob("state/results/*/summary.png"), key=lambda path: path.stat().st_size)
    left_out = {OLD_INSTALLATION / "bmd-node.toml", *pictures[1:]}

    def nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        # similar files side by side, for better compression
        for path in sorted(OLD_INSTALLATION.rglob("*"), key=lambda path: (path.is_file(), path.suffix, path.name, path)):
            if path not in left_out:
                tar.add(path, path.relative_to(OLD_INSTALLATION), recursive=False, filter=nobodys)
    archive.write_bytes(lzma.compress(content.getvalue(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{archive}: {archive.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    main()
