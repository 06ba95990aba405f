"""TotalSegmentator: the real package with models of a few kilobytes, which test the data flow but not the segmentation;
and true label maps, which test the use of its labels."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.charset import python_encoding

from node.common.errors import ConfigurationError
from node.model import Level, Segmentation, Volume
from node.phantom import FieldOfView, Phantom, PhantomParameters, Spine, make_phantom
from node.segment import load_segmenter
from node.segment.labelled import SpineLabels, name_and_draw
from node.segment.totalsegmentator import TotalSegmentator, numbers_of
from node.settings.tree import SegmentSettings
from tests.segment.labelled_phantom import total_labels, vertebra_names
from tests.segment.tiny_models import BRIGHT_HU, DARK_HU, make_models
from tests.volumes import volume_of

pytest.importorskip("totalsegmentator", reason="the extra bmd-node[totalsegmentator] is not installed")

FROM_T10 = FieldOfView((0.0, 0.0, 10.0), (300.0, 256.0, 380.0))
#: Every connection that is not to a process of the same machine fails and is noted.
NO_NETWORK = """
import os, socket
connect = socket.socket.connect
def note(where):
    with open(os.environ["NO_NETWORK_LOG"], "a") as file:
        file.write(f"{where}\\n")
    raise OSError("no network in this test")
def guarded(self, address):
    return connect(self, address) if self.family == socket.AF_UNIX else note(address)
def resolve(*args, **kwargs):
    note(args[0])
socket.socket.connect = guarded
socket.getaddrinfo = resolve
"""


def quiet(_: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture(scope="module")
def classes() -> dict[int, str]:
    from totalsegmentator.map_to_binary import class_map

    return dict(class_map["total"])


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(PhantomParameters(slice_distance_mm=2.0, pixel_spacing_mm=1.0, field_of_view=FROM_T10))


def segmented(phantom: Phantom, labels: npt.NDArray[np.uint8], classes: dict[int, str]) -> Segmentation:
    spine = SpineLabels(numbers_of(classes)[labels], phantom.affine_lps_mm, whole_vertebrae=True)
    return name_and_draw(volume_of(phantom.hu, phantom.affine_lps_mm), spine, "TotalSegmentator", quiet)


def withheld(result: Segmentation) -> str:
    """The only reason for a result without levels."""
    assert result.bodies == ()
    assert not result.labels.any()
    [reason] = result.reasons
    assert reason.code == "level_not_certain"
    return reason.detail


def test_true_labels_become_the_bodies_of_l1_to_l5(phantom: Phantom, classes: dict[int, str]) -> None:
    result = segmented(phantom, total_labels(phantom, classes), classes)
    assert [body.level for body in result.bodies] == [Level.T12, Level.L1, Level.L2, Level.L3, Level.L4, Level.L5], (
        result.reasons
    )
    whole = vertebra_names(phantom)
    for body in result.bodies:
        drawn, true = result.labels == int(body.level), phantom.truth.labels == int(body.level)
        if true.any():
            assert 2 * (drawn & true).sum() / (drawn.sum() + true.sum()) > 0.93, body.level.name
        # The phantom's posterior elements make up a third of a vertebra: what is drawn must have lost them.
        assert drawn.sum() < 0.85 * whole[body.level.name].sum()
        assert "TotalSegmentator labels the same levels" in body.evidence
        assert "last rib agrees" in body.evidence


def test_two_names_exchanged(phantom: Phantom, classes: dict[int, str]) -> None:
    labels = total_labels(phantom, classes, {"L2": "L3", "L3": "L2"})
    assert "L3 instead of L2, L2 instead of L3" in withheld(segmented(phantom, labels, classes))


def test_a_vertebra_left_out(phantom: Phantom, classes: dict[int, str]) -> None:
    withheld(segmented(phantom, total_labels(phantom, classes, {"L3": ""}), classes))


def test_every_name_one_level_too_high(phantom: Phantom, classes: dict[int, str]) -> None:
    higher = {"L5": "L4", "L4": "L3", "L3": "L2", "L2": "L1", "L1": "T12", "T12": "T11", "T11": "T10", "T10": "T9"}
    said = withheld(segmented(phantom, total_labels(phantom, classes, higher), classes))
    assert "last rib is at the body that TotalSegmentator labels T11" in said
    # Without ribs, too: bodies called thoracic must bear some.
    said = withheld(segmented(phantom, total_labels(phantom, classes, {**higher, "rib": ""}), classes))
    assert "No rib was found" in said


def test_six_lumbar_vertebrae_called_t12_to_l5(classes: dict[int, str]) -> None:
    six = make_phantom(
        PhantomParameters(
            slice_distance_mm=2.0, pixel_spacing_mm=1.0, field_of_view=FROM_T10, spine=Spine(lumbar_vertebrae=6)
        )
    )
    higher = {"L6": "L5", "L5": "L4", "L4": "L3", "L3": "L2", "L2": "L1", "L1": "T12", "T12": "T11", "T11": "T10"}
    withheld(segmented(six, total_labels(six, classes, higher), classes))


def test_real_labels_of_a_chest_that_ends_in_the_lumbar_spine(
    installed_ct: tuple[Volume, npt.NDArray[np.uint8]], classes: dict[int, str]
) -> None:
    volume, labels = installed_ct
    spine = SpineLabels(numbers_of(classes)[labels], volume.affine_lps_mm, whole_vertebrae=True)
    result = name_and_draw(volume, spine, "TotalSegmentator", quiet)
    # The last slice goes through L3; the ribs, which end 8 to 11 mm from T12 there, must be found to belong to it.
    assert [body.level for body in result.bodies] == [Level.T12, Level.L1, Level.L2], result.reasons
    assert [reason.code for reason in result.reasons] == ["body_cut_by_field_of_view"]
    for body in result.bodies:
        own = result.labels == int(body.level)
        # L1, L2, L3 = 31, 30, 29 there.
        assert (labels[own] == 51 - int(body.level)).mean() > 0.95, body.level.name
        assert own.sum() < 0.85 * (labels == 51 - int(body.level)).sum()
        assert body.confidence <= 0.6


def test_real_labels_one_level_off(installed_ct: tuple[Volume, npt.NDArray[np.uint8]], classes: dict[int, str]) -> None:
    volume, labels = installed_ct
    vertebrae = (labels >= 29) & (labels <= 45)
    for step in (-1, 1):
        shifted = np.where(vertebrae, labels.astype(np.int16) + step, labels)
        spine = SpineLabels(numbers_of(classes)[shifted], volume.affine_lps_mm, whole_vertebrae=True)
        result = name_and_draw(volume, spine, "TotalSegmentator", quiet)
        assert result.bodies == ()
        assert [reason.code for reason in result.reasons] == ["level_not_certain"]


def test_missing_weights_are_named_when_the_node_starts(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"Dataset292.*totalseg_download_weights -t total.*totalsegmentator_weights"
    ):
        load_segmenter(SegmentSettings(segmenter="totalsegmentator", totalsegmentator_weights=tmp_path))


def test_one_missing_model_is_enough(tmp_path: Path) -> None:
    make_models(tmp_path)
    TotalSegmentator(tmp_path)
    [checkpoint] = tmp_path.glob("Dataset295*/*/fold_0/checkpoint_final.pth")
    checkpoint.unlink()
    with pytest.raises(ConfigurationError, match=r": Dataset295\w+\. Run") as caught:
        TotalSegmentator(tmp_path)
    assert "Dataset292" not in str(caught.value)


def test_without_the_package_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "totalsegmentator", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'bmd-node\[totalsegmentator\]'"):
        load_segmenter(SegmentSettings(segmenter="totalsegmentator"))


def test_a_package_with_other_classes_is_refused(classes: dict[int, str]) -> None:
    with pytest.raises(ConfigurationError, match="does not have the classes"):
        numbers_of({value: name for value, name in classes.items() if name != "vertebrae_L4"})


@pytest.fixture
def network_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No network in this process and those that it starts; the file gets every attempt."""
    log = tmp_path / "attempts"
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    monkeypatch.setenv("NO_NETWORK_LOG", str(log))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(socket.socket, "connect", socket.socket.connect)
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)
    exec(NO_NETWORK, {})  # noqa: S102 - the same guard as in the processes that nnU-Net starts
    # The guard itself: both kinds of processes must be caught.
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("127.0.0.1", 9))
    code = "import urllib.request; urllib.request.urlopen('http://localhost:9')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode != 0
    assert len(log.read_text().splitlines()) == 2
    log.unlink()
    return log


def test_the_package_runs_offline_and_its_labels_lie_where_the_image_is_bright(
    tmp_path: Path, network_log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Sagittal slices from left to right, feet first: any mistake about axes moves the block."""
    make_models(tmp_path / "weights")
    segmenter = TotalSegmentator(tmp_path / "weights")
    hu = np.full((40, 50, 60), DARK_HU, dtype=np.int16)
    block = (slice(6, 18), slice(24, 42), slice(10, 28))
    hu[block] = BRIGHT_HU
    affine = np.eye(4)
    affine[:3, :3] = np.array([[-2.5, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, -2.0, 0.0]])
    affine[:3, 3] = (40.0, -60.0, 30.0)
    volume = volume_of(hu, affine)
    labels = segmenter.labels(volume)
    assert set(np.unique(labels)) == {0, int(Level.L3)}
    drawn, true = labels == int(Level.L3), hu == BRIGHT_HU
    assert 2 * (drawn & true).sum() / (drawn.sum() + true.sum()) > 0.85
    assert not network_log.exists(), network_log.read_text()
    assert capfd.readouterr().out == ""
    # dicom2nifti, which the package imports, overwrites pydicom's table: names in GB 2312 came out as rubbish after it
    assert "dicom2nifti" in sys.modules
    assert python_encoding["ISO 2022 IR 58"] == "iso_ir_58"
