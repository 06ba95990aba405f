"""TorchScript archives: the embedded network exported as one, a network that names vertebrae, and broken contracts."""

from __future__ import annotations

import json
import warnings
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from node.common.errors import ConfigurationError
from node.model import Level
from node.phantom import FieldOfView, PhantomParameters, make_phantom
from node.segment import Segmenter, load_segmenter
from node.segment.embedded import WEIGHTS_FILE
from node.segment.network import OFFSET_UNIT_MM, SpineNet, Tissue
from node.settings.tree import SegmentSettings
from tests.segment.labelled_phantom import vertebra_names
from tests.volumes import volume_of

TISSUE_CHANNELS = [tissue.name.lower() for tissue in Tissue]
CONTRACT: dict[str, object] = {
    "contract": 1,
    "name": "spine",
    "version": "2",
    "spacing_mm": 3.0,
    "hu_range": [-1024, 3071],
    "patch_voxels": 80,
    "channels": [*TISSUE_CHANNELS, "offset_s", "offset_p", "offset_l"],
}
NAMED = ["rib", "background", "sacrum", *(f"vertebra_T{i}" for i in range(9, 13)), *(f"vertebra_L{i}" for i in range(1, 6))]
#: HU that stands for a class in the images of the test's own network: classes lie this far apart.
STEP_HU = 200


class InMillimetres(nn.Module):
    """The embedded network with offsets in the unit of the contract."""

    def __init__(self, network: SpineNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, hu: Tensor) -> Tensor:
        out = self.network(hu)
        return torch.cat([out[:, : len(Tissue)], out[:, len(Tissue) :] * OFFSET_UNIT_MM], dim=1)


class NearestHu(nn.Module):
    """Takes every voxel for the class whose HU is nearest; background is 0 HU, class i is i steps above."""

    def __init__(self, hu: list[float]) -> None:
        super().__init__()
        self.register_buffer("hu", torch.tensor(hu).reshape(1, -1, 1, 1, 1))

    def forward(self, hu: Tensor) -> Tensor:
        return -(hu - self.hu).abs()


def quiet(_: str) -> None:
    """Progress that nobody reads."""


def archive(path: Path, network: nn.Module, contract: dict[str, object] | None, patch_voxels: int = 80) -> Path:
    """Trace and save a network with its contract, as docs/segmenters.md shows it."""
    files = {} if contract is None else {"bmd-node.json": json.dumps(contract)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        n = patch_voxels
        traced = torch.jit.trace(network.eval(), torch.zeros(1, 1, n, n, n), check_trace=False)
        torch.jit.save(traced, str(path), _extra_files=files)
    return path


def load(path: Path) -> Segmenter:
    return load_segmenter(SegmentSettings(segmenter=f"torchscript:{path}"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = SpineNet()
    weights = (resources.files("node.segment") / "weights" / WEIGHTS_FILE).read_bytes()
    network.load_state_dict({key: value.float() for key, value in load_tensors(weights).items()})
    return archive(tmp_path_factory.mktemp("torchscript") / "spine.pt", InMillimetres(network), CONTRACT)


def test_the_exported_network_names_a_phantom_as_the_embedded_one_does(exported: Path, segmenter: Segmenter) -> None:
    own = load(exported)
    assert own.name == "torchscript"
    assert own.version.startswith("spine 2 ")
    phantom = make_phantom(PhantomParameters(slice_distance_mm=3.0, pixel_spacing_mm=1.0, noise_sd_hu=20.0))
    volume = volume_of(phantom.hu, phantom.affine_lps_mm)
    found, expected = own.segment(volume, quiet), segmenter.segment(volume, quiet)
    assert [body.level for body in found.bodies] == [Level.T12, Level.L1, Level.L2, Level.L3, Level.L4, Level.L5], (
        found.reasons
    )
    assert [body.level for body in expected.bodies] == [body.level for body in found.bodies]
    for mine, theirs in zip(found.bodies, expected.bodies, strict=True):
        assert mine.evidence == theirs.evidence
        assert np.linalg.norm(np.array(mine.centroid_lps_mm) - theirs.centroid_lps_mm) < 3.0
        drawn, true = found.labels == int(mine.level), phantom.truth.labels == int(mine.level)
        if true.any():
            # Its own outline, 3 mm voxels: the second embedded network has no part in it.
            assert 2 * (drawn & true).sum() / (drawn.sum() + true.sum()) > 0.85


def named_hu(masks: dict[str, np.ndarray], channels: list[str]) -> np.ndarray:
    """An image in which every labelled voxel has the HU of its channel in :class:`NearestHu`."""
    hu = np.zeros(next(iter(masks.values())).shape, dtype=np.int16)
    for name, mask in masks.items():
        channel = name if name in {"rib", "sacrum"} else f"vertebra_{name}"
        if channel in channels:
            hu[mask.astype(bool)] = STEP_HU * (1 + channels.index(channel))
    return hu


def by_name(channels: list[str]) -> tuple[NearestHu, dict[str, object]]:
    steps = [0.0 if name == "background" else float(STEP_HU * (1 + i)) for i, name in enumerate(channels)]
    contract = {**CONTRACT, "spacing_mm": 2.0, "patch_voxels": 64, "channels": channels, "vertebrae": "whole"}
    return NearestHu(steps), contract


def test_a_network_that_names_vertebrae_is_believed_only_where_the_count_agrees(tmp_path: Path) -> None:
    view = FieldOfView((0.0, 0.0, 10.0), (240.0, 240.0, 320.0))
    phantom = make_phantom(PhantomParameters(slice_distance_mm=2.0, pixel_spacing_mm=2.0, field_of_view=view))
    masks = vertebra_names(phantom)
    own = load(archive(tmp_path / "named.pt", *by_name(NAMED), patch_voxels=64))
    right = own.segment(volume_of(named_hu(masks, NAMED), phantom.affine_lps_mm), quiet)
    assert [body.level for body in right.bodies] == [Level.T12, Level.L1, Level.L2, Level.L3, Level.L4, Level.L5], (
        right.reasons
    )
    for body in right.bodies:
        drawn, true = right.labels == int(body.level), phantom.truth.labels == int(body.level)
        if true.any():
            assert 2 * (drawn & true).sum() / (drawn.sum() + true.sum()) > 0.85
    masks["L2"], masks["L3"] = masks["L3"], masks["L2"]
    wrong = own.segment(volume_of(named_hu(masks, NAMED), phantom.affine_lps_mm), quiet)
    assert wrong.bodies == ()
    [reason] = wrong.reasons
    assert reason.code == "level_not_certain"
    assert "spine and the count" in reason.detail


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contract": 2}, "contract"),
        ({"spacing_mm": "3"}, "spacing_mm"),
        ({"spacing_mm": 0.5}, "spacing_mm"),
        ({"hu_range": [300, -200]}, "hu_range"),
        ({"patch_voxels": 30}, "patch_voxels"),
        ({"colour": "red"}, "colour"),
        ({"channels": [*TISSUE_CHANNELS, "liver", "offset_s", "offset_p", "offset_l"]}, "unknown liver"),
        ({"channels": [*TISSUE_CHANNELS, "rib", "offset_s", "offset_p", "offset_l"]}, "is repeated"),
        ({"channels": TISSUE_CHANNELS}, "missing offset_s, offset_p, offset_l"),
        ({"channels": ["offset_s", "offset_p", "offset_l", *TISSUE_CHANNELS]}, "must be the last three"),
        ({"channels": [name for name in NAMED if name != "vertebra_L4"]}, "missing vertebra_L4"),
        ({"channels": NAMED}, "write whole or body"),
        ({"vertebrae": "whole"}, "write whole or body"),
        ({"channels": [*NAMED, "lumbar_body"], "vertebrae": "body"}, "lumbar_body cannot be combined"),
    ],
)
def test_a_wrong_contract_is_refused_with_the_field(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = archive(tmp_path / "wrong.pt", nn.Identity(), {**CONTRACT, **change}, patch_voxels=2)
    with pytest.raises(ConfigurationError, match=message):
        load(path)


def test_what_the_network_gives_must_fit_its_contract(tmp_path: Path) -> None:
    path = archive(tmp_path / "wrong.pt", nn.Identity(), {**CONTRACT, "patch_voxels": 32}, patch_voxels=2)
    with pytest.raises(
        ConfigurationError, match=r"returns \(1, 1, 32, 32, 32\), but its contract says \(1, 11, 32, 32, 32\)"
    ):
        load(path)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    class NotFinite(nn.Module):
        def forward(self, hu: Tensor) -> Tensor:
            return (hu * 0.0 / 0.0).expand(1, 11, 32, 32, 32)

    path = archive(tmp_path / "wrong.pt", NotFinite(), {**CONTRACT, "patch_voxels": 32}, patch_voxels=32)
    with pytest.raises(ConfigurationError, match="not finite"):
        load(path)


def test_an_archive_without_a_contract_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no bmd-node\.json: docs/segmenters\.md"):
        load(archive(tmp_path / "bare.pt", nn.Identity(), None, patch_voxels=2))


def test_a_missing_file_and_a_file_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.pt does not exist"):
        load(tmp_path / "nothing.pt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(ConfigurationError, match=r"weights\.pt is not a TorchScript archive"):
        load(tmp_path / "weights.pt")
    (tmp_path / "text.pt").write_text("not an archive")
    with pytest.raises(ConfigurationError, match=r"text\.pt is not a TorchScript archive"):
        load(tmp_path / "text.pt")
