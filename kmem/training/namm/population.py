"""A population on recorded prompts, in this process or in several: a prompt is one piece of work, for all members at once."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from kmem.encoder.load import load_model
from kmem.models.namm.checkpoint import load_namm
from kmem.models.namm.scorer import Namm, with_vector
from kmem.training.namm.evolution import Vectors
from kmem.training.namm.fitness import Outcome
from kmem.training.namm.members import evaluate
from kmem.training.namm.recording import load_recording


class Population(Protocol):
    """Evaluates members [P, n] on recordings by path → an outcome each, in their order."""

    def __call__(self, members: Vectors, recordings: Sequence[Path]) -> list[Outcome]: ...


@dataclass(frozen=True, eq=False)
class Alone:
    """In this process."""

    model: PreTrainedModel
    namm: Namm

    def __call__(self, members: Vectors, recordings: Sequence[Path]) -> list[Outcome]:
        return [outcome(self.model, self.namm, members, path) for path in recordings]


@dataclass(frozen=True, eq=False)
class Together:
    """In the processes of a pool."""

    pool: ProcessPoolExecutor

    def __call__(self, members: Vectors, recordings: Sequence[Path]) -> list[Outcome]:
        return list(self.pool.map(_in_worker, [members] * len(recordings), recordings))


def outcome(model: PreTrainedModel, namm: Namm, members: Vectors, path: Path) -> Outcome:
    """All members on one recorded prompt; a matter of these arguments alone, whoever else is evaluated where."""
    recording = load_recording(path)
    population = [with_vector(namm, torch.from_numpy(member)) for member in members]
    score, share = evaluate(model, population, recording)
    return Outcome(
        task=recording.example.task,
        score=score.double().numpy().astype(np.float64),
        share=share.double().numpy().astype(np.float64),
        full=recording.full,
    )


@contextmanager
def workers(count: int, *, model: str, dtype: str, namm_file: Path) -> Iterator[Together]:
    """So many processes, each with the model and one thread; namm_file: its configuration and statistics."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=(model, dtype, namm_file))
    try:
        yield Together(pool)
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass
class _Worker:
    """What this process has."""

    alone: list[Alone] = field(default_factory=list)


_worker = _Worker()


def _start(model: str, dtype: str, namm_file: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    torch.set_num_threads(1)
    _worker.alone = [Alone(load_model(model, dtype=dtype)[0], load_namm(namm_file))]


def _in_worker(members: Vectors, path: Path) -> Outcome:
    (alone,) = _worker.alone
    return outcome(alone.model, alone.namm, members, path)
