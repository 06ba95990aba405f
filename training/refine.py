"""Trains the second network: ``python -m training.refine --data ../shared/data --out runs/refine``.

New crops are made during training. It uses a GPU if torch finds one, writes ``checkpoint.pt`` every few minutes, resumes
from it when started again, and exports the averaged weights as ``refine.safetensors``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from node.segment.refine import RefineNet
from training.bank import Bank, Stream
from training.inputs import Inputs
from training.loop import Clock, Run, add_options, device, inputs_of, optimise
from training.phantoms import FIRST_TRAINING_SEED
from training.refine_crops import Block, LoadedBlock, anatomy_blocks, crop, paint, phantom_blocks

#: Share of the crops that come from real CTs.
REAL_SHARE = 0.3
#: Shares of the others: phantoms, whole painted persons at 2 mm, painted masks at 1 mm; and the number of bodies per
#: example.
SHARES, BODIES = (0.2, 0.25, 0.25), (6, 7, 1)
#: Painted and phantom blocks that are kept, and, without workers, after how many crops one of them is replaced.
BANK, LEAST_BANK, CROPS_PER_NEW_BLOCK = 150, 4, 5
#: With workers: they fill it in about a minute.
BANK_WITH_WORKERS = 900


def new_blocks(inputs: Inputs, rng: np.random.Generator) -> list[Block]:
    """New blocks of one kind; over many calls the shares of blocks are those in :data:`SHARES`."""
    chance = np.array(SHARES) / np.array(BODIES)
    kind = int(rng.choice(3, p=chance / chance.sum()))
    if kind == 0:
        return phantom_blocks(int(rng.integers(FIRST_TRAINING_SEED, 1_000_000)))
    if kind == 1:
        return anatomy_blocks(inputs.anatomies[int(rng.integers(len(inputs.anatomies)))], rng)
    return [paint(inputs.painted_blocks[int(rng.integers(len(inputs.painted_blocks)))], rng)]


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, learning_rate=3e-3)
    train(Run(**vars(parser.parse_args())))


def train(run: Run) -> None:
    """Run or resume the training."""
    inputs = inputs_of(run)
    place = device()
    network = RefineNet().to(place).to(memory_format=torch.channels_last_3d)
    real = [LoadedBlock.of(block, place) for block in inputs.real_blocks]

    def batches(clock: Clock) -> Iterator[tuple[Tensor, Tensor]]:
        seed = (run.seed, clock.step)
        rng = np.random.default_rng(seed)
        bank = Bank(
            Stream(lambda chance: new_blocks(inputs, chance), seed),
            lambda block: LoadedBlock.of(block, place),
            size=BANK if run.workers == 0 else BANK_WITH_WORKERS,
            least=LEAST_BANK,
            draws_per_new=CROPS_PER_NEW_BLOCK,
            workers=run.workers,
        )
        while True:
            chosen = [
                real[int(rng.integers(len(real)))] if rng.random() < REAL_SHARE else bank.draw(rng) for _ in range(run.batch)
            ]
            channels, truth = zip(*(crop(block, rng) for block in chosen), strict=True)
            yield torch.stack(channels), torch.stack(truth)

    def loss(batch: tuple[Tensor, Tensor], _: Clock) -> tuple[Tensor, Tensor]:
        channels, truth = batch
        with torch.autocast(place.type, torch.bfloat16):
            logits = network(channels.contiguous(memory_format=torch.channels_last_3d))
        return loss_of(logits.float(), truth)

    optimise(network, run, batches, loss, inputs, "refine.safetensors")


def loss_of(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy plus (1 - Dice), for crops (n, 1, ...) with ``truth`` in [0, 1]; and Dice of the masks."""
    probability = logits.sigmoid()
    each = (1, 2, 3, 4)
    overlap = 2 * (probability * truth).sum(each) / (probability.sum(each) + truth.sum(each)).clamp(min=1.0)
    inside, true = logits.detach() > 0, truth > 0.5
    dice = 2 * (inside & true).sum(each) / (inside.sum(each) + true.sum(each)).clamp(min=1)
    return functional.binary_cross_entropy_with_logits(logits, truth) * 4 + 1 - overlap.mean(), dice.mean()


if __name__ == "__main__":
    main()
