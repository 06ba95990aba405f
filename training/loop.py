"""Common parts of both trainings: options, learning rate, averaged weights, checkpoints, progress, the weights file."""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.inputs import Inputs, has_inputs, load_inputs

Batch = TypeVar("Batch")

CHECKPOINT_SECONDS = 150
STEPS_PER_LINE = 20
#: Share of the average that is kept in every step, for the averaged weights.
KEPT = 0.997
#: Steps of rising learning rate; and its last value, as a share of the maximum.
WARM_STEPS, LAST_RATE = 100, 0.02


@dataclass(frozen=True, slots=True)
class Run:
    """Settings of a training.

    Attributes:
        data: data folder; not needed if the inputs exist.
        inputs: folder of the inputs.
        out: folder of checkpoint and weights.
        steps: total number.
        minutes: stop after this time instead of after ``steps``, if given.
        batch: patches or crops per step.
        seed: of all random numbers. With workers the weights differ from run to run, because the examples depend on the
            speed of the workers.
        learning_rate: its maximum.
        workers: processes that make training examples; with 0 the training itself makes them.
        threads: of torch on the CPU.
        initial: weights to start from.
    """

    data: Path | None
    inputs: Path
    out: Path
    steps: int
    minutes: float | None
    batch: int
    seed: int
    learning_rate: float
    workers: int
    threads: int
    initial: Path | None


class Clock:
    """Progress of a run: by its steps, or by its time."""

    def __init__(self, run: Run, step: int = 0, seconds: float = 0.0) -> None:
        self._run = run
        self._started = time.monotonic() - seconds
        self.step = step

    @property
    def seconds(self) -> float:
        """Elapsed time, including earlier starts."""
        return time.monotonic() - self._started

    @property
    def done(self) -> float:
        """0 at the beginning, 1 at the end."""
        if self._run.minutes is not None:
            return min(self.seconds / (60.0 * self._run.minutes), 1.0)
        return min(self.step / self._run.steps, 1.0)

    @property
    def learning_rate(self) -> float:
        """Learning rate: a linear rise, then a cosine decay."""
        warm = min(1.0, (self.step + 1) / WARM_STEPS)
        fall = 0.5 * (1 + float(np.cos(np.pi * self.done)))
        return self._run.learning_rate * warm * (LAST_RATE + (1 - LAST_RATE) * fall)


def add_options(parser: argparse.ArgumentParser, learning_rate: float) -> None:
    """Options of :class:`Run`."""
    parser.add_argument("--data", type=Path, help="data folder; not needed if --inputs already contains the inputs")
    parser.add_argument("--inputs", type=Path, default=Path("runs/inputs"), help="folder of the inputs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, help="stop after this time instead of after --steps")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--workers", type=int, default=0, help="processes that create training examples")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--initial", type=Path, help="weights of an earlier run to start from")


def inputs_of(run: Run) -> Inputs:
    """The inputs of a training. If its folder holds none, they are made from the data.

    Raises:
        FileNotFoundError: the folder holds none, and the run names no data.
    """
    if run.data is not None and not has_inputs(run.inputs):
        # A machine that gets the finished inputs may lack the packages that make them.
        from training.prepare import prepare

        prepare(run.data, run.inputs)
    return load_inputs(run.inputs)


def device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def optimise(
    network: nn.Module,
    run: Run,
    batches: Callable[[Clock], Iterator[Batch]],
    loss: Callable[[Batch, Clock], tuple[Tensor, Tensor]],
    inputs: Inputs,
    name: str,
) -> None:
    """Train until the run is done, from its checkpoint if there is one, and write ``name`` into its folder.

    Args:
        network: on the device where it is trained.
        run: settings.
        batches: returns the batches from the current step on; called once.
        loss: returns the loss of a batch, and figures of quality (NaN if absent) that are printed.
        inputs: their digests go into the header of the weights.
        name: of the weights file.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(run.threads)
    torch.manual_seed(run.seed)
    about = {"seed": str(run.seed), "batch": str(run.batch), "inputs": json.dumps(inputs.digests)}
    if run.initial:
        network.load_state_dict({k: v.float() for k, v in load_file(run.initial).items()})
        about["initial"] = hashlib.sha256(run.initial.read_bytes()).hexdigest()[:12]
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(KEPT))
    optimizer = torch.optim.AdamW(network.parameters(), lr=run.learning_rate, weight_decay=1e-3)
    checkpoint, clock = run.out / "checkpoint.pt", Clock(run)
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        clock = Clock(run, int(state["step"]), float(state["seconds"]))

    def save() -> None:
        state = {"network": network.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state | {"step": clock.step, "seconds": clock.seconds}, checkpoint.with_suffix(".part"))
        checkpoint.with_suffix(".part").rename(checkpoint)
        _export(average.module, about | {"steps": str(clock.step)}, run.out / name)

    first, saved, started = clock.step, time.monotonic(), time.monotonic()
    running: Tensor | float = 0.0
    quality: Tensor | float = 0.0
    for batch in batches(clock):
        for group in optimizer.param_groups:
            group["lr"] = clock.learning_rate
        value, figures = loss(batch, clock)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        average.update_parameters(network)
        clock.step += 1
        running = value.detach() if clock.step == first + 1 else 0.98 * running + 0.02 * value.detach()
        quality = torch.where(torch.isfinite(figures), 0.97 * quality + 0.03 * figures, quality)
        if clock.step % STEPS_PER_LINE == 0:
            pace = (time.monotonic() - started) / (clock.step - first)
            listed = " ".join(f"{figure:.2f}" for figure in quality.flatten().tolist())
            print(
                f"step {clock.step} ({100 * clock.done:.0f} %) loss {running:.4f} Dice {listed} {pace:.2f} s/step",
                flush=True,
            )
        if clock.done >= 1.0:
            break
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            saved = time.monotonic()
            save()
    save()


def _export(network: nn.Module, about: dict[str, str], path: Path) -> None:
    """Write the weights as float16, with the training data in the header."""
    halves = {k: v.to("cpu", torch.float16).contiguous() for k, v in network.state_dict().items()}
    save_file(halves, path.with_suffix(".part"), metadata=about)
    path.with_suffix(".part").rename(path)
