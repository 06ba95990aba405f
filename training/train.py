"""Trains the embedded network: ``python -m training.train --data ../shared/data --out runs/spine``.

One process makes new synthetic patients while it trains; ``--real-share`` of the steps see a real CT. It writes
``checkpoint.pt`` every few minutes, goes on from it when started again, and exports the averaged weights as safetensors.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from safetensors.torch import load_file, save_file
from torch import Tensor

from node.segment.network import OFFSET_CHANNELS, OFFSET_UNIT_MM, PATCH_VOXELS, SPACING_MM, SpineNet, Tissue
from training.anatomy import Anatomy, load_anatomies
from training.phantoms import FIRST_TRAINING_SEED, phantom_sample
from training.real import load_masked
from training.scanner import cropped_view, scanned
from training.semi import label_semi_automatically
from training.synth import IGNORED, Sample, bent_grid, synthesise
from training.variants import varied

#: How many synthetic volumes are kept, and after how many steps the oldest is replaced.
BANK = 40
STEPS_PER_NEW_VOLUME = 10
CHECKPOINT_SECONDS = 150
#: Share of the steps after which the real CTs without masks are labelled and join.
SEMI_AFTER = 0.5
#: Share of the steps after which all classes count alike.
ALIKE_AFTER = 0.75
#: Share of phantoms among the synthetic volumes.
PHANTOM_SHARE = 0.2
#: Bone counts more while it is being found; later all classes count alike, or outlines would be drawn too wide.
CLASS_WEIGHTS = (0.3, 2.0, 2.5, 1.5, 2.0, 2.0, 2.0, 1.0)


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a run; ``steps`` is where the learning rate reaches its end."""

    data: Path
    out: Path
    steps: int
    seed: int
    learning_rate: float
    real_share: float
    threads: int
    initial: Path | None


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--real-share", type=float, default=0.35)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--initial", type=Path, help="weights of an earlier run to begin with; patches are large at once")
    train(Options(**vars(parser.parse_args())))


def train(options: Options) -> None:
    """Runs (or resumes) the training and exports the weights."""
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    anatomies = cached_anatomies(options.data, options.out)
    real = load_masked(options.data)
    network = SpineNet().to(memory_format=torch.channels_last_3d)
    if options.initial:
        network.load_state_dict({k: v.float() for k, v in load_file(options.initial).items()})
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=1e-3)
    step = 0
    checkpoint = options.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average, step = state["average"], int(state["step"])
    rng = np.random.default_rng([options.seed, step])
    stored = options.out / "bank.pickle"
    bank: list[Sample] = pickle.loads(stored.read_bytes()) if stored.exists() else []  # noqa: S301 - our own file
    found, alike = torch.tensor(CLASS_WEIGHTS), torch.ones(len(Tissue))
    running, saved, started = 0.0, time.monotonic(), time.monotonic()
    first = step
    quality = torch.zeros(len(Tissue) - 1)
    semi = options.out / "semi.pickle"
    if semi.exists():
        real += pickle.loads(semi.read_bytes())  # noqa: S301 - our own file
    while step < options.steps:
        if not semi.exists() and (options.initial or step >= options.steps * SEMI_AFTER):
            # The network is good enough to outline bone on real CTs: label those without masks, once.
            export(average, options, step, options.out / "labelling.safetensors")
            labelled = label_semi_automatically(options.data, options.out / "labelling.safetensors", print)
            semi.write_bytes(pickle.dumps(labelled))
            real += labelled
        if len(bank) < 6 or (len(bank) < BANK and step % 5 == 0) or step % STEPS_PER_NEW_VOLUME == 0:
            bank.append(_new_sample(anatomies, rng))
            if len(bank) > BANK:
                bank.pop(0)
        is_real = rng.random() < options.real_share
        sample = real[int(rng.integers(len(real)))] if is_real else bank[int(rng.integers(len(bank)))]
        hu, classes, offsets, inside = patch(sample, _patch_size(step, options), rng, is_real=is_real)
        for group in optimizer.param_groups:
            done = step / options.steps
            warm = min(1.0, (step + 1) / 100)
            group["lr"] = float(options.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done))))
        with torch.autocast("cpu", torch.bfloat16):
            out = network(hu[None, None].contiguous(memory_format=torch.channels_last_3d))
        weights = found if step < ALIKE_AFTER * options.steps else alike
        loss, dice = loss_of(out.float()[0], classes, offsets, inside, weights)
        seen = torch.isfinite(dice)
        quality[seen] = 0.97 * quality[seen] + 0.03 * dice[seen]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        step += 1
        keep = min(0.997, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            average[key].lerp_(value, 1 - keep)
        running = float(loss.detach()) if step == first + 1 else 0.98 * running + 0.02 * float(loss.detach())
        if step % 20 == 0:
            pace = (time.monotonic() - started) / (step - first)
            listed = " ".join(f"{value:.2f}" for value in quality.tolist())
            print(f"step {step} loss {running:.4f} dice {listed} {pace:.2f} s/step bank {len(bank)}", flush=True)
        if time.monotonic() - saved > CHECKPOINT_SECONDS or step == options.steps:
            saved = time.monotonic()
            _save(checkpoint, network, average, optimizer, step)
            export(average, options, step, options.out / "spine.safetensors")
            # Through another file: whoever stops the training may do so while it is written.
            stored.with_suffix(".part").write_bytes(pickle.dumps(bank))
            stored.with_suffix(".part").rename(stored)


def _patch_size(step: int, options: Options) -> int:
    """Small patches first: they teach what bone looks like in a fraction of the time."""
    if options.initial:
        return PATCH_VOXELS
    return 48 if step < 0.3 * options.steps else 64 if step < 0.5 * options.steps else PATCH_VOXELS


def _new_sample(anatomies: list[Anatomy], rng: np.random.Generator) -> Sample:
    if rng.random() < PHANTOM_SHARE:
        return phantom_sample(int(rng.integers(FIRST_TRAINING_SEED, 1_000_000)))
    return synthesise(varied(anatomies[int(rng.integers(len(anatomies)))], rng), rng)


def _save(path: Path, network: SpineNet, average: dict[str, Tensor], optimizer: torch.optim.Optimizer, step: int) -> None:
    temporary = path.with_suffix(".part")
    torch.save(
        {"network": network.state_dict(), "average": average, "optimizer": optimizer.state_dict(), "step": step}, temporary
    )
    temporary.rename(path)


def export(average: dict[str, Tensor], options: Options, step: int, path: Path) -> None:
    """Averaged weights as float16 safetensors, with what they were trained on in the header."""
    temporary = path.with_suffix(".part")
    halves = {k: v.to(torch.float16).contiguous() for k, v in average.items()}
    description = {"steps": str(step), "seed": str(options.seed), "inputs": json.dumps(input_digests(options.data))}
    if options.initial:
        description["initial"] = hashlib.sha256(options.initial.read_bytes()).hexdigest()[:12]
    save_file(halves, temporary, metadata=description)
    temporary.rename(path)


def input_digests(data: Path) -> dict[str, str]:
    """First 12 digits of the SHA-256 of every file set under ``data`` (per folder of ``ct`` and ``labels``)."""
    out = {}
    for folder in sorted([*(data / "ct").iterdir(), *(data / "labels").iterdir()]):
        files = sorted(p for p in ([folder] if folder.is_file() else folder.rglob("*")) if p.is_file())
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.read_bytes())
        out[folder.name] = digest.hexdigest()[:12]
    return out


def cached_anatomies(data: Path, out: Path) -> list[Anatomy]:
    """The anatomies, made once per output folder (it takes minutes)."""
    cache = out / "anatomies.pickle"
    if not cache.exists():
        cache.write_bytes(pickle.dumps(load_anatomies(data)))
    anatomies: list[Anatomy] = pickle.loads(cache.read_bytes())  # noqa: S301 - our own file
    return anatomies


def patch(sample: Sample, n: int, rng: np.random.Generator, *, is_real: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A random patch: HU (n, n, n), classes, offsets to the body centre (3, ...) in units, and where they are known."""
    shape = np.array(sample.hu.shape)
    spine = np.argwhere(np.isfinite(sample.centres[:, 0])).ravel()
    if rng.random() < 0.8 and spine.size:
        middle = sample.centres[int(rng.choice(spine))] + rng.uniform(-22, 22, 3)
    else:
        middle = rng.uniform(0, 1, 3) * shape
    start = np.round(middle - n / 2).astype(int)
    if is_real:
        hu, classes, bodies, centres = _turned(sample, start, n, rng)
    else:
        hu = _cut(sample.hu, start, n, -1024.0)
        classes, bodies = _cut(sample.classes, start, n, 0), _cut(sample.bodies, start, n, 0)
        centres = torch.from_numpy(sample.centres - start.astype(np.float32))
    hu = scanned(hu, rng, gently=is_real)
    hu, classes = cropped_view(hu, classes, rng)
    points = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float32)] * 3, indexing="ij"), dim=-1)
    centres = centres[bodies.long()]
    inside = torch.isfinite(centres[..., 0]) & ((classes == Tissue.UPPER_BODY) | (classes == Tissue.LUMBAR_BODY))
    offsets = ((centres - points) * (SPACING_MM / OFFSET_UNIT_MM)).nan_to_num(0.0).permute(3, 0, 1, 2)
    return hu, classes.long(), offsets, inside


def _cut(array: np.ndarray, start: np.ndarray, n: int, fill: float) -> Tensor:
    """A patch, filled up where it leaves the volume."""
    out = np.full((n, n, n), fill, dtype=np.float32)
    low = np.maximum(start, 0)
    high = np.minimum(start + n, array.shape)
    if (low < high).all():
        target = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        out[target] = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return torch.from_numpy(out)


def _turned(sample: Sample, start: np.ndarray, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A patch of a real CT, turned, scaled, bent, sometimes mirrored: HU, classes, bodies, body centres in it."""
    points = bent_grid((n, n, n), rng, turn_deg=10.0, bend_mm=4.0) / SPACING_MM
    scale = torch.tensor(rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3), dtype=torch.float32)
    points = points * scale
    mirror = rng.random() < 0.3
    if mirror:
        points[..., 2] = -points[..., 2]
    middle = torch.from_numpy((start + n / 2).astype(np.float32))
    index = points + middle
    size = torch.tensor(sample.hu.shape, dtype=torch.float32)
    where = (index * 2 / (size - 1) - 1).flip(-1)[None]
    hu = (
        functional.grid_sample(
            torch.from_numpy(sample.hu.astype(np.float32))[None, None] + 1024.0, where, mode="bilinear", align_corners=True
        )[0, 0]
        - 1024.0
    )
    both = torch.from_numpy(np.stack([sample.classes, sample.bodies]).astype(np.float32))
    classes, bodies = functional.grid_sample(both[None], where, mode="nearest", align_corners=True)[0]
    bodies = bodies.round()
    # Centres of the bodies in the patch's own frame; a body that the patch's edge cuts teaches no offset.
    own = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float32)] * 3, indexing="ij"), dim=-1)
    whole = bodies.clone()
    edge = torch.ones_like(bodies, dtype=torch.bool)
    edge[1:-1, 1:-1, 1:-1] = False
    for label in torch.unique(bodies[edge]).tolist():
        whole[whole == label] = 0
    centres = torch.full((26, 3), float("nan"))
    for label in torch.unique(whole).tolist():
        if label:
            centres[int(label)] = own[whole == label].mean(dim=0)
    return hu, classes, whole, centres


def loss_of(out: Tensor, classes: Tensor, offsets: Tensor, inside: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy, Dice of the classes that are there, distance of the offsets; and Dice per class (NaN: absent)."""
    logits, predicted = out[: len(Tissue)], out[len(Tissue) :]
    entropy = functional.cross_entropy(logits[None], classes[None], weight=weights, ignore_index=IGNORED)
    known = classes != IGNORED
    probability = logits.softmax(0) * known
    truth = functional.one_hot(torch.where(known, classes, 0), len(Tissue)).permute(3, 0, 1, 2).float() * known
    overlap = (probability * truth).sum((1, 2, 3))[1:]
    total = (probability + truth).sum((1, 2, 3))[1:]
    there = truth.sum((1, 2, 3))[1:] > 20
    dice = torch.where(there, (2 * overlap + 1) / (total + 1), float("nan"))
    lack = (1 - dice[there]).mean() if bool(there.any()) else torch.zeros(())
    distance = functional.smooth_l1_loss(predicted, offsets, reduction="none", beta=0.1).sum(0)
    pull = (distance * inside).sum() / inside.sum().clamp(min=200) / OFFSET_CHANNELS
    return entropy + lack + pull, dice.detach()


if __name__ == "__main__":
    main()
