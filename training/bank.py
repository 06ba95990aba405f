"""Training examples that are generated continuously, by workers or by the training itself, and drawn several times."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

Made = TypeVar("Made")
Kept = TypeVar("Kept")


class Stream(IterableDataset[Made]):
    """Endless examples from one maker; each process that reads it has its own random generator.

    Args:
        make: makes one or several examples from a random generator.
        seed: of the run; a run that resumes at a step passes (seed, step).
    """

    def __init__(self, make: Callable[[np.random.Generator], list[Made]], seed: tuple[int, ...]) -> None:
        self._make = make
        self._seed = seed

    def __iter__(self) -> Iterator[Made]:
        worker = get_worker_info()
        rng = np.random.default_rng([*self._seed, worker.id + 1 if worker else 0])
        if worker:
            torch.set_num_threads(1)
            torch.manual_seed(int(rng.integers(2**31)))
        while True:
            yield from self._make(rng)


class Bank(Generic[Made, Kept]):
    """The latest ``size`` examples of a stream, on the device that uses them.

    Without workers one is made for every ``draws_per_new`` draws (more often until the bank is full); with workers they
    arrive as fast as the workers make them.
    """

    def __init__(
        self, stream: Stream[Made], keep: Callable[[Made], Kept], *, size: int, least: int, draws_per_new: int, workers: int
    ) -> None:
        self._kept: deque[Kept] = deque(maxlen=size)
        self._keep = keep
        self._least = least
        self._draws_per_new = draws_per_new
        self._draws = 0
        self._failure: BaseException | None = None
        self._source = None if workers else iter(stream)
        if workers:
            loader = DataLoader(stream, batch_size=None, num_workers=workers, prefetch_factor=4, collate_fn=_as_it_is)
            threading.Thread(target=self._fill, args=(loader,), daemon=True).start()

    def draw(self, rng: np.random.Generator) -> Kept:
        """Draw one example; wait until there are enough to choose from."""
        if self._source is not None:
            full = len(self._kept) == self._kept.maxlen
            while len(self._kept) < self._least:
                self._kept.append(self._keep(next(self._source)))
            if self._draws % (self._draws_per_new if full else max(self._draws_per_new // 2, 1)) == 0:
                self._kept.append(self._keep(next(self._source)))
        while len(self._kept) < self._least and self._failure is None:
            time.sleep(0.05)
        if self._failure is not None:
            raise RuntimeError("A worker process has failed.") from self._failure
        self._draws += 1
        return self._kept[int(rng.integers(len(self._kept)))]

    def _fill(self, loader: DataLoader[Made]) -> None:
        try:
            for made in loader:
                self._kept.append(self._keep(made))
        # Raised by the next draw, in the training thread.
        except BaseException as error:  # noqa: BLE001
            self._failure = error


def _as_it_is(made: Made) -> Made:
    return made
