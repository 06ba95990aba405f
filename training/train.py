"""Trains the embedded network: ``python -m training.train --data ../shared/data --out runs/spine``.

New patches are made during training; ``--real-share`` of them come from real CTs. It uses a GPU if torch finds one, writes
``checkpoint.pt`` every few minutes, resumes from it when started again, and exports the averaged weights as
``spine.safetensors``. With ``--minutes`` training and learning rate end after that time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from node.segment.network import OFFSET_CHANNELS, PATCH_VOXELS, SpineNet, Tissue
from training.bank import Bank, Stream
from training.loop import Clock, Run, add_options, device, inputs_of, optimise
from training.patches import LoadedSample, Patch, new_sample, patch
from training.synth import IGNORED

#: Number of synthetic volumes that are kept, and, without workers, after how many patches the oldest is replaced.
BANK, LEAST_BANK, PATCHES_PER_NEW_VOLUME = 40, 2, 10
#: With workers: they fill it in about half a minute.
BANK_WITH_WORKERS = 300
#: Until these shares of the run, patches of this many voxels: small ones teach the look of bone in a fraction of the time.
SIZES = ((0.3, 48), (0.5, 64), (1.0, PATCH_VOXELS))
#: Share of the run after which all classes have the same weight.
ALIKE_AFTER = 0.75
#: Bone has more weight at first; later all classes have the same weight, or outlines would be too wide.
CLASS_WEIGHTS = (0.3, 2.0, 2.5, 1.5, 2.0, 2.0, 2.0, 1.0)


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, learning_rate=2e-3)
    parser.add_argument("--real-share", type=float, default=0.35)
    options = vars(parser.parse_args())
    real_share = options.pop("real_share")
    train(Run(**options), real_share)


def train(run: Run, real_share: float) -> None:
    """Run or resume the training."""
    inputs = inputs_of(run)
    place = device()
    network = SpineNet().to(place).to(memory_format=torch.channels_last_3d)
    real = [LoadedSample.of(sample, place) for sample in inputs.real]
    # A whole trunk has more information than one vertebra.
    share = np.sqrt([sample.hu.size for sample in inputs.real])
    share /= share.sum()
    found, alike = torch.tensor(CLASS_WEIGHTS, device=place), torch.ones(len(Tissue), device=place)
    # Initial weights already know bone: use large patches at once.
    sizes = SIZES[-1:] if run.initial else SIZES

    def batches(clock: Clock) -> Iterator[Patch]:
        seed = (run.seed, clock.step)
        rng = np.random.default_rng(seed)
        bank = Bank(
            Stream(lambda chance: [new_sample(inputs.anatomies, chance)], seed),
            lambda sample: LoadedSample.of(sample, place),
            size=BANK if run.workers == 0 else BANK_WITH_WORKERS,
            least=LEAST_BANK,
            draws_per_new=PATCHES_PER_NEW_VOLUME,
            workers=run.workers,
        )

        def one() -> Patch:
            size = next(size for until, size in sizes if clock.done <= until)
            if rng.random() < real_share:
                return patch(real[int(rng.choice(len(real), p=share))], size, rng, is_real=True)
            return patch(bank.draw(rng), size, rng, is_real=False)

        while True:
            hu, classes, offsets, inside = zip(*(one() for _ in range(run.batch)), strict=True)
            yield torch.stack(hu), torch.stack(classes), torch.stack(offsets), torch.stack(inside)

    def loss(batch: Patch, clock: Clock) -> tuple[Tensor, Tensor]:
        hu, classes, offsets, inside = batch
        with torch.autocast(place.type, torch.bfloat16):
            out = network(hu[:, None].contiguous(memory_format=torch.channels_last_3d))
        return loss_of(out.float(), classes, offsets, inside, found if clock.done < ALIKE_AFTER else alike)

    optimise(network, run, batches, loss, inputs, "spine.safetensors")


def loss_of(out: Tensor, classes: Tensor, offsets: Tensor, inside: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy, Dice of the present classes, error of the offsets; and Dice per class (NaN if absent).

    Args:
        out: of the network, (n, 8 + 3, ...).
        classes: (n, ...), :class:`Tissue` or :data:`IGNORED`.
        offsets, inside: true offsets (n, 3, ...), and a mask of where they exist (n, ...).
        weights: of the classes in the cross-entropy.
    """
    logits, predicted = out[:, : len(Tissue)], out[:, len(Tissue) :]
    entropy = functional.cross_entropy(logits, classes, weight=weights, ignore_index=IGNORED)
    known = (classes != IGNORED)[:, None]
    probability = logits.softmax(1) * known
    truth = functional.one_hot(torch.where(known[:, 0], classes, 0), len(Tissue)).movedim(-1, 1).float() * known
    overlap = (probability * truth).sum((2, 3, 4))[:, 1:]
    total = (probability + truth).sum((2, 3, 4))[:, 1:]
    there = truth.sum((2, 3, 4))[:, 1:] > 20
    dice = (2 * overlap + 1) / (total + 1)
    lack = ((1 - dice) * there).sum() / there.sum().clamp(min=1)
    distance = functional.smooth_l1_loss(predicted, offsets, reduction="none", beta=0.1).sum(1)
    pull = (distance * inside).sum() / inside.sum().clamp(min=200) / OFFSET_CHANNELS
    return entropy + lack + pull, torch.where(there, dice, float("nan")).nanmean(0).detach()


if __name__ == "__main__":
    main()
