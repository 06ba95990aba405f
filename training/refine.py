"""Trains the second network: ``python -m training.refine --data ../shared/data --out runs/refine``.

New crops are made while it trains; ``checkpoint.pt`` is written every few minutes and gone on from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from safetensors.torch import load_file, save_file
from torch import Tensor

from node.segment.refine import RefineNet
from training.phantoms import FIRST_TRAINING_SEED
from training.refine_crops import Block, anatomy_blocks, crop, map_blocks, paint, phantom_blocks, real_blocks
from training.train import cached_anatomies, input_digests

#: Shares of the steps: real CTs, phantoms, whole painted persons at 2 mm, painted masks at 1 mm.
SHARES = (0.3, 0.2, 0.25, 0.25)
#: Painted and phantom blocks that are kept, and after how many steps one of them is replaced.
BANK, STEPS_PER_NEW = 60, 8
CHECKPOINT_SECONDS = 120


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--initial", type=Path, help="weights of an earlier run to begin with")
    options = parser.parse_args()
    train(options.data, options.out, options.steps, options.seed, options.learning_rate, options.threads, options.initial)


def train(data: Path, out: Path, steps: int, seed: int, learning_rate: float, threads: int, initial: Path | None) -> None:
    """Runs (or resumes) the training and exports the averaged weights as ``refine.safetensors``."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    maps, real = _cached(data, out)
    network = RefineNet().to(memory_format=torch.channels_last_3d)
    described = {"seed": str(seed), "inputs": json.dumps(input_digests(data))}
    if initial:
        network.load_state_dict({k: v.float() for k, v in load_file(initial).items()})
        described["initial"] = hashlib.sha256(initial.read_bytes()).hexdigest()[:12]
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-3)
    step, checkpoint = 0, out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average, step = state["average"], int(state["step"])
    rng = np.random.default_rng([seed, step])
    anatomies = cached_anatomies(data, out)
    painted: list[Block] = []
    phantoms: list[Block] = []
    persons: list[Block] = []
    first, saved, started, quality = step, time.monotonic(), time.monotonic(), 0.0
    while step < steps:
        if not painted or step % STEPS_PER_NEW == 0:
            painted.append(paint(maps[int(rng.integers(len(maps)))], rng))
        if not phantoms or step % (6 * STEPS_PER_NEW) == 0:
            phantoms += phantom_blocks(int(rng.integers(FIRST_TRAINING_SEED, 1_000_000)))
        if not persons or step % (6 * STEPS_PER_NEW) == STEPS_PER_NEW:
            persons += anatomy_blocks(anatomies[int(rng.integers(len(anatomies)))], rng)
        painted, phantoms, persons = painted[-BANK:], phantoms[-BANK:], persons[-BANK:]
        kind = (real, phantoms, persons, painted)[int(rng.choice(4, p=SHARES))]
        channels, truth = crop(kind[int(rng.integers(len(kind)))], rng, turned=True)
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 100)
            group["lr"] = learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * step / steps))))
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(channels[None].contiguous(memory_format=torch.channels_last_3d)).float()
        loss = loss_of(logits, truth[None])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        step += 1
        keep = min(0.997, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            average[key].lerp_(value, 1 - keep)
        inside, true = logits.detach() > 0, truth[None] > 0.5
        dice = float(2 * (inside & true).sum() / (inside.sum() + true.sum()).clamp(min=1))
        quality = dice if step == first + 1 else 0.98 * quality + 0.02 * dice
        if step % 50 == 0:
            pace = (time.monotonic() - started) / (step - first)
            print(f"step {step} Dice {quality:.3f} {pace:.2f} s/step", flush=True)
        if time.monotonic() - saved > CHECKPOINT_SECONDS or step == steps:
            saved = time.monotonic()
            state = {"network": network.state_dict(), "average": average, "optimizer": optimizer.state_dict(), "step": step}
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").rename(checkpoint)
            _export(average, described | {"steps": str(step)}, out / "refine.safetensors")


def loss_of(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy plus what Dice lacks to 1, for crops (n, 1, ...); ``truth`` in [0, 1]."""
    probability = logits.sigmoid()
    overlap = 2 * (probability * truth).sum() / (probability.sum() + truth.sum()).clamp(min=1.0)
    return functional.binary_cross_entropy_with_logits(logits, truth) * 4 + 1 - overlap


def _cached(data: Path, out: Path) -> tuple[list[Block], list[Block]]:
    """The blocks of label maps and of real CTs, made once per output folder."""
    cache = out / "blocks.pickle"
    if not cache.exists():
        cache.write_bytes(pickle.dumps((map_blocks(data), real_blocks(data))))
    maps, real = pickle.loads(cache.read_bytes())  # noqa: S301 - our own file
    return maps, real


def _export(average: dict[str, Tensor], described: dict[str, str], path: Path) -> None:
    """Averaged weights as float16, with what they were trained on in the header."""
    halves = {k: v.to(torch.float16).contiguous() for k, v in average.items()}
    save_file(halves, path.with_suffix(".part"), metadata=described)
    path.with_suffix(".part").rename(path)


if __name__ == "__main__":
    main()
