"""How much of what it was shown does a model recall, on examples it was not trained on?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.models.bmojo import BMojoForCausalLM
from kmem.progress import Progress, silent
from kmem.training.mqar.generate import IGNORED, TEST, Examples, examples
from kmem.training.mqar.task import TaskConfig
from kmem.training.mqar.trainer import answers

AT_ONCE = 16
"""Sequences of a forward pass."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recall:
    """One entry a query: distances [n] in tokens back to its value, and whether the answer was right [n]."""

    distances: Tensor
    right: Tensor

    def accuracy(self, *, least: int = 0, most: int | None = None) -> float | None:
        """Share of right answers to queries whose value lies `least` … `most` tokens back; None where there are none."""
        chosen = self.distances >= least
        if most is not None:
            chosen &= self.distances <= most
        return float(self.right[chosen].float().mean()) if bool(chosen.any()) else None

    def count(self, *, least: int = 0, most: int | None = None) -> int:
        """How many queries those are."""
        return int(((self.distances >= least) & (self.distances <= (self.distances.max() if most is None else most))).sum())


@torch.no_grad()
def recall(model: BMojoForCausalLM, task: TaskConfig, sequences: int, *, seed: int, name: str = "", progress: Progress = silent) -> Recall:
    """Answers to all queries of `sequences` fresh examples; the same seed gives the same examples to every model."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    distances, right = [], []
    progress(name, 0, sequences)
    for index, first in enumerate(range(0, sequences, AT_ONCE)):
        count = min(AT_ONCE, sequences - first)
        batch = Examples(*(part.to(device) for part in examples(task, count, seed=seed, stream=TEST, index=index)))
        asked = batch.labels != IGNORED
        distances.append(batch.distances[asked].cpu())
        right.append((answers(model, batch).argmax(-1) == batch.labels[asked]).cpu())
        progress(name, first + count, sequences)
    model.train(training)
    return Recall(distances=torch.cat(distances), right=torch.cat(right))
