"""Each destination gets what it takes: negotiated with real servers, remembered, asked again, and never a dead end."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner
from pydicom.uid import UID, EncapsulatedPDFStorage
from pynetdicom.sop_class import Verification

from node.cli.main import main
from node.deliver.deliverer import REPLACED, Attempt, Deliverer, ask_again_what_was_not_taken
from node.model.object_kinds import SegKind, SrKind, sop_class_name
from node.records.destinations import Answer, DestinationRecords
from node.records.report_versions import ReportVersions
from node.records.runs import DeliveryState, RunRecords
from node.settings.tree import DeliverSettings, Destination, PageWanted, Settings
from node.study.objects import PAGE_FILE, PDF_FILE, SR_FILE, WantedKinds, seg_file, sr_file
from tests.deliver.built_results import write_result
from tests.deliver.delivery_servers import SC, SEG, SR, Orthanc, eventually, free_port, is_open, storage_scp

LABEL_MAP = str(SegKind.LABELMAP.sop_class_uid)
SR_CLASSES = [str(kind.sop_class_uid) for kind in SrKind]
C3D, COMPREHENSIVE, ENHANCED, BASIC_TEXT = SR_CLASSES
RUN = "1.2.3-run"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a result in every kind."""
    folder = tmp_path_factory.mktemp("result")
    write_result(folder)
    return folder


class Site:
    """A node's settings and records, with one destination."""

    def __init__(self, folder: Path, result: Path, **deliver: float) -> None:
        self.folder = folder
        self.files = tuple(sorted(result.glob("*.dcm")))
        self.deliver = DeliverSettings(timeout_s=20.0, **deliver)

    def settings(self, port: int, **changes: object) -> Settings:
        values = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port} | changes
        return Settings(state_dir=self.folder, destinations=(Destination(**values),), deliver=self.deliver)  # type: ignore[arg-type]

    def attempt(self, port: int, run_id: str = RUN, **changes: object) -> Attempt:
        return Deliverer(self.settings(port, **changes)).attempt(run_id, "pacs", self.files)

    def answers(self, port: int, **changes: object) -> dict[str, Answer]:
        settings = self.settings(port, **changes)
        known = DestinationRecords.open(settings).abilities(settings.destinations[0])
        return {one.ability.sop_class_uid: one.ability.answer for one in known}


@pytest.fixture
def site(tmp_path: Path, result: Path) -> Site:
    return Site(tmp_path / "state", result)


def classes(received: Sequence[pydicom.Dataset]) -> list[str]:
    return [str(ds.SOPClassUID) for ds in received]


def segmentation_of(report: pydicom.Dataset) -> set[str]:
    """Segmentations that the tree of a report refers to."""
    references = [i for e in report.iterall() if e.keyword == "ReferencedSOPSequence" for i in e.value]
    return {str(i.ReferencedSOPInstanceUID) for i in references if i.ReferencedSOPClassUID in (SEG, LABEL_MAP)}


@contextmanager
def running(command: list[object], port: int) -> Iterator[None]:
    """A server of dcmtk."""
    program = shutil.which(str(command[0]), path="/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip(f"{command[0]} is not installed (Debian package dcmtk)")
    server = subprocess.Popen([program, *map(str, command[1:])])
    try:
        eventually(lambda: is_open(port), f"{command[0]} listens")
        yield
    finally:
        server.terminate()
        server.wait(30)


def test_orthanc_takes_all_of_it_and_binary_in_place_of_a_label_map(orthanc: Orthanc, site: Site, result: Path) -> None:
    done = site.attempt(orthanc.dicom_port, ae_title="ORTHANC", segmentation=SegKind.LABELMAP, pdf=True)
    assert done.state is DeliveryState.STORED
    assert "segmentation as Segmentation Storage (Label Map Segmentation Storage: presentation context not" in done.detail
    names = (seg_file(SegKind.BINARY), SR_FILE, PAGE_FILE, PDF_FILE)
    expected = [pydicom.dcmread(result / name).SOPInstanceUID for name in names]
    assert orthanc.sop_instance_uids() == sorted(expected)
    answers = site.answers(orthanc.dicom_port, ae_title="ORTHANC")
    assert answers.pop(LABEL_MAP) is Answer.REFUSED_CONTEXT
    assert set(answers.values()) == {Answer.ACCEPTED}
    for kind in list(SrKind)[1:]:
        done = site.attempt(orthanc.dicom_port, ae_title="ORTHANC", structured_report=(kind,), segmentation="none")
        assert (done.state, done.detail) == (DeliveryState.STORED, ""), kind
    assert len(orthanc.sop_instance_uids()) == len(expected) + len(SrKind) - 1


def test_dcmqrscp_takes_all_of_it(site: Site, tmp_path: Path) -> None:
    storage, port = tmp_path / "qr", free_port()
    storage.mkdir()
    config = tmp_path / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 4\n"
        f"HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nPACS {storage} RW (9, 1024mb) ANY\nAETable END\n"
    )
    with running(["dcmqrscp", "--config", config], port):
        done = site.attempt(port, pdf=True)
    assert (done.state, done.detail) == (DeliveryState.STORED, "")
    assert _classes_in(storage) == {SEG, C3D, SC, EncapsulatedPDFStorage}


def _classes_in(folder: Path) -> set[str]:
    found = set()
    for path in folder.iterdir():
        try:
            found.add(str(pydicom.dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID))
        except pydicom.errors.InvalidDicomError:
            continue  # the index
    return found


def test_a_server_that_refuses_comprehensive_3d_and_seg_gets_the_next_step(site: Site, tmp_path: Path) -> None:
    arrived, port = tmp_path / "arrived", free_port()
    arrived.mkdir()
    config = tmp_path / "storescp.cfg"
    config.write_text(
        "[[TransferSyntaxes]]\n[Explicit]\nTransferSyntax1 = LittleEndianExplicit\n"
        f"[[PresentationContexts]]\n[Old]\nPresentationContext1 = {ENHANCED}\\Explicit\n"
        f"PresentationContext2 = {BASIC_TEXT}\\Explicit\nPresentationContext3 = {SC}\\Explicit\n"
        "[[Profiles]]\n[Old]\nPresentationContexts = Old\n"
    )
    with running(["storescp", "-aet", "PACS", "-xf", config, "Old", "-od", arrived, port], port):
        done = site.attempt(port)
    assert done.state is DeliveryState.STORED, "people there have the result"
    assert _classes_in(arrived) == {ENHANCED, SC}
    assert "no segmentation: Segmentation Storage: presentation context not accepted" in done.detail
    assert "structured report as Enhanced SR Storage (Comprehensive 3D SR Storage: presentation context" in done.detail
    answers = site.answers(port)
    assert {uid for uid, answer in answers.items() if answer is Answer.ACCEPTED} == {ENHANCED, BASIC_TEXT, SC}
    assert {uid for uid, answer in answers.items() if answer is Answer.REFUSED_CONTEXT} == {SEG, C3D, COMPREHENSIVE}


def test_a_label_map_that_is_taken_is_what_the_report_refers_to(site: Site, result: Path) -> None:
    with storage_scp(sop_classes=(LABEL_MAP, SEG, ENHANCED, SC)) as (port, received):
        assert site.attempt(port, segmentation=SegKind.LABELMAP).state is DeliveryState.STORED
    seg, report, _ = received
    assert classes(received) == [LABEL_MAP, ENHANCED, SC]
    assert segmentation_of(report) == {seg.SOPInstanceUID}


def test_a_label_map_that_is_refused_is_not_what_the_report_refers_to(site: Site) -> None:
    with storage_scp({LABEL_MAP: 0x0122}, sop_classes=(LABEL_MAP, SEG, SR, SC)) as (port, received):
        assert site.attempt(port, segmentation=SegKind.LABELMAP).state is DeliveryState.STORED
    assert classes(received) == [LABEL_MAP, SEG, SR, SC]
    assert segmentation_of(received[2]) == {received[1].SOPInstanceUID}


def test_a_class_that_is_refused_after_it_was_accepted_is_remembered_and_asked_again(tmp_path: Path, result: Path) -> None:
    site = Site(tmp_path / "state", result, ask_again_days=1.0)
    with storage_scp({C3D: 0x0122}, sop_classes=(SEG, *SR_CLASSES, SC)) as (port, received):
        done = site.attempt(port)
        assert classes(received) == [SEG, C3D, COMPREHENSIVE, SC]
        assert (done.state, site.answers(port)[C3D]) == (DeliveryState.STORED, Answer.REFUSED_STORE)
        assert "0x0122" in done.detail
        received.clear()

        another = Site(tmp_path / "state", result)
        another.files = write_another(tmp_path / "second")
        assert another.attempt(port, "second").state is DeliveryState.STORED
        assert classes(received) == [COMPREHENSIVE, SC], "it is not tried in vain, and the segmentation is the same one"
        assert site.answers(port)[C3D] is Answer.REFUSED_STORE
        received.clear()

        # an answer that is old is not trusted
        late = Site(tmp_path / "state", result, ask_again_days=1e-9)
        late.files = write_another(tmp_path / "third")
        late.attempt(port, "third")
        assert classes(received) == [C3D, COMPREHENSIVE, SC]
        received.clear()

    with storage_scp(sop_classes=(SEG, *SR_CLASSES, SC), port=port) as (_, received):
        config = tmp_path / "bmd-node.toml"
        config.write_text(
            f'state_dir = "{tmp_path / "state"}"\n'
            f'[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {port}\n'
        )
        shown = CliRunner().invoke(main, ["destinations", "--config", str(config)])
        assert "refused store    Comprehensive 3D SR Storage" in shown.output
        asked = CliRunner().invoke(main, ["destinations", "--config", str(config), "--ask-again", "pacs"])
        assert asked.exit_code == 0, asked.output
        assert "not known yet" in asked.output
        site.files = write_another(tmp_path / "fourth")
        site.attempt(port, "fourth")
        assert classes(received) == [C3D, SC]
        asked = CliRunner().invoke(main, ["destinations", "--config", str(config), "--ask"])
        assert "accepted         Basic Text SR Storage" in asked.output
        assert "refused context  Label Map Segmentation Storage" in asked.output


def write_another(folder: Path) -> tuple[Path, ...]:
    """A later report of the same study, over the same segmentation."""
    folder.mkdir()
    kinds = WantedKinds((SrKind.COMPREHENSIVE_3D, SrKind.COMPREHENSIVE), (SegKind.BINARY,), pdf=False)
    return write_result(folder, folder.name, kinds=kinds)


def test_a_report_that_a_destination_cannot_read_goes_in_the_next_class_and_that_is_not_held_against_the_class(
    site: Site,
) -> None:
    with storage_scp({C3D: 0xC000}, sop_classes=(SEG, *SR_CLASSES, SC)) as (port, received):
        done = site.attempt(port)
    assert classes(received) == [SEG, C3D, COMPREHENSIVE, SC]
    assert done.state is DeliveryState.STORED
    assert "0xC000" in done.detail
    assert site.answers(port)[C3D] is Answer.ACCEPTED


def test_what_is_refused_for_what_it_holds_is_an_error_with_what_to_do(site: Site) -> None:
    with storage_scp({SEG: 0xA900}, sop_classes=(SEG, SR, SC)) as (port, received):
        done = site.attempt(port)
    assert classes(received) == [SEG, SR, SC], "the others are there"
    assert done.state is DeliveryState.REJECTED
    assert "0xA900" in done.detail
    assert "bmd-node destinations --ask-again pacs" in done.detail


@pytest.mark.parametrize(
    ("wanted", "offered", "expected"),
    [
        ({}, (SC,), [SC]),
        ({"summary_page": PageWanted.INSTEAD_OF_REPORT}, (SC,), [SC]),
        ({"summary_page": PageWanted.INSTEAD_OF_REPORT}, (BASIC_TEXT, SC), [BASIC_TEXT]),
        ({"summary_page": PageWanted.NEVER}, (SEG, SR, SC), [SEG, SR]),
        ({"pdf": True}, (SR, SC, EncapsulatedPDFStorage), [SR, SC, EncapsulatedPDFStorage]),
        ({"pdf": True}, (EncapsulatedPDFStorage,), [EncapsulatedPDFStorage]),
        ({"segmentation": "none"}, (SEG, SR, SC), [SR, SC]),
        ({"structured_report": ()}, (SEG, SR, SC), [SEG, SC]),
        ({"structured_report": (SrKind.ENHANCED, SrKind.BASIC_TEXT)}, (SEG, *SR_CLASSES, SC), [SEG, ENHANCED, SC]),
    ],
)
def test_the_settings_of_a_destination_say_what_it_is_offered(
    site: Site, wanted: dict[str, object], offered: tuple[str, ...], expected: list[str]
) -> None:
    with storage_scp(sop_classes=offered) as (port, received):
        assert site.attempt(port, **wanted).state is DeliveryState.STORED
    assert classes(received) == expected


def test_a_destination_that_takes_nothing_is_no_dead_end(site: Site, tmp_path: Path, result: Path) -> None:
    with storage_scp(sop_classes=(Verification,)) as (port, _):
        done = site.attempt(port)
        settings = site.settings(port)
    assert done.state is DeliveryState.NOT_TAKEN
    for kind in SrKind:
        assert sop_class_name(kind.sop_class_uid) in done.detail
    assert "Allow one of them there for BMDNODE" in done.detail
    assert "bmd-node destinations --ask-again pacs" in done.detail
    records, known = RunRecords.open(settings), DestinationRecords.open(settings)
    records.queued(RUN, "1.2.3", result)
    records.delivery(RUN, "pacs", done.state, 1, done.detail)

    # by itself once the answer is old, and by command at once
    assert ask_again_what_was_not_taken(settings) == 0
    old = settings.model_copy(update={"deliver": DeliverSettings(ask_again_days=1e-9)})
    assert ask_again_what_was_not_taken(old) == 1
    [first] = known.redeliveries()
    known.mark_taken(first)
    config = tmp_path / "bmd-node.toml"
    config.write_text(
        f'state_dir = "{site.folder}"\n'
        f'[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {port}\n'
    )
    for _ in range(2):
        asked = CliRunner().invoke(main, ["destinations", "--config", str(config), "--ask-again", "pacs"])
        assert "pacs: the worker resends 1 results" in asked.output
    [second] = known.redeliveries()
    assert (first.run_id, first.number, second.number) == (RUN, 1, 2)
    unknown = CliRunner().invoke(main, ["destinations", "--config", str(config), "--ask-again", "other"])
    assert unknown.exit_code == 2
    assert "the settings have: pacs" in unknown.output
    with storage_scp(sop_classes=(SC,), port=port) as (_, received):
        assert site.attempt(port).state is DeliveryState.STORED
    assert classes(received) == [SC]


def test_what_may_go_through_later_steps_down_to_nothing_and_is_not_sent_twice(site: Site) -> None:
    full = {C3D: 0xA700}
    with storage_scp(full, sop_classes=(SEG, *SR_CLASSES, SC)) as (port, received):
        assert site.attempt(port).state is DeliveryState.PENDING
        assert classes(received) == [SEG, C3D, SC]
        received.clear()
        full.clear()
        assert site.attempt(port).state is DeliveryState.STORED
        assert classes(received) == [C3D]
        received.clear()
        # another server under the same name has none of it
        assert site.attempt(port, host="localhost").state is DeliveryState.STORED
        assert classes(received) == [SEG, C3D, SC]


def test_the_work_of_an_association_that_broke_is_not_done_again(site: Site) -> None:
    breaks_at: list[str] = [C3D]
    with storage_scp(sop_classes=(SEG, C3D, SC), aborts_at=breaks_at) as (port, received):
        assert site.attempt(port).state is DeliveryState.PENDING
        breaks_at.clear()
        received.clear()
        assert site.attempt(port).state is DeliveryState.STORED
    assert classes(received) == [C3D, SC]


def test_a_report_that_was_replaced_is_not_sent(site: Site, tmp_path: Path) -> None:
    versions = ReportVersions.open(site.settings(1))
    versions.enter(RUN, "1.2.3", "one", tmp_path, 1.0)
    versions.mark_made(RUN)
    versions.enter("later", "1.2.3", "two", tmp_path, 2.0)
    with storage_scp(sop_classes=(SEG, SR, SC)) as (port, received):
        assert site.attempt(port).state is DeliveryState.STORED, "the later one is not made yet"
        assert len(received) == 3
        versions.mark_made("later")
        assert site.attempt(port) == Attempt(DeliveryState.SUPERSEDED, REPLACED)
        assert len(received) == 3


def test_destinations_and_files_that_are_gone_are_told(site: Site, tmp_path: Path) -> None:
    settings = site.settings(1)
    assert "no longer in the settings" in Deliverer(settings).attempt(RUN, "other", site.files).detail
    gone = Deliverer(settings).attempt(RUN, "pacs", [tmp_path / "gone.dcm"])
    assert gone.is_damaged, "it is made again, if its images are still there"
    assert gone.state is DeliveryState.PENDING
    assert "gone.dcm" in gone.detail
    nothing = site.attempt(1, structured_report=(), segmentation="none", summary_page=PageWanted.NEVER)
    assert nothing.state is DeliveryState.REJECTED


def test_every_kind_of_file_has_a_name_of_its_own() -> None:
    names = [sr_file(kind, seg_kind) for kind in SrKind for seg_kind in SegKind] + [seg_file(kind) for kind in SegKind]
    assert len(set(names)) == len(names)
    assert UID(C3D).name == "Comprehensive 3D SR Storage"
