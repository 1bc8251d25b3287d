"""Training on examples without end, in a way that goes on bit for bit where it stopped."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kmem.errors import ConfigError, CorruptBankError
from kmem.models.bmojo import BMojoForCausalLM
from kmem.options import differing
from kmem.progress import Progress, silent
from kmem.training.mqar.checkpoint import Stored
from kmem.training.mqar.generate import IGNORED, TRAINING, Examples, examples
from kmem.training.mqar.recipe import Recipe
from kmem.training.mqar.sizing import config_of
from kmem.training.mqar.stages import learning_rate, stage

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW remembers of a parameter."""


class Trainer:
    """One run of a recipe. `step` updates are behind it; losses: one a step, in nats; skipped: steps whose gradient was not finite."""

    def __init__(self, recipe: Recipe, *, device: str = "cpu") -> None:
        self.recipe, self.device = recipe, torch.device(device)
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.model = BMojoForCausalLM(config_of(recipe)).to(self.device).train()
        self.parameters = dict(self.model.named_parameters())
        self.optimizer = torch.optim.AdamW(self.parameters.values(), weight_decay=recipe.training.weight_decay)
        self.step, self.skipped, self.seconds = 0, 0, 0.0
        self.losses: list[float] = []

    def run(self, save: Callable[["Trainer"], None] = lambda trainer: None, *, progress: Progress = silent) -> None:
        """To the last step; `save` is handed this trainer every `checkpoint_steps` and at the end."""
        steps, name = self.recipe.training.steps, f"{self.recipe.variant} {self.recipe.seed}"
        progress(name, self.step, steps)
        while self.step < steps:
            self.advance()
            progress(name, self.step, steps)
            if self.step % self.recipe.training.checkpoint_steps == 0 or self.step == steps:
                save(self)

    def advance(self) -> float:
        """One step; its loss. A step whose gradient isn't finite changes nothing but the count of those."""
        began, training = time.perf_counter(), self.recipe.training
        loss = query_loss(self.model, self.batch())
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation there
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), training.clip)
        if math.isfinite(float(norm)):
            self.optimizer.param_groups[0]["lr"] = learning_rate(training, self.step)
            self.optimizer.step()
        else:
            self.skipped += 1
        self.step += 1
        self.losses.append(float(loss.detach()))
        self.seconds += time.perf_counter() - began
        return self.losses[-1]

    def batch(self) -> Examples:
        """The examples of the next step."""
        now = stage(self.recipe, self.step)
        made = examples(now.task, now.batch_size, seed=self.recipe.seed, stream=TRAINING, index=self.step)
        return Examples(*(part.to(self.device) for part in made))

    # ------------------------------------------------------------------ checkpoints

    def state(self) -> Stored:
        """All that decides how the run goes on."""
        tensors = {f"model.{name}": parameter for name, parameter in self.parameters.items()}
        for name, parameter in self.parameters.items():
            moments = self.optimizer.state.get(parameter, {})
            tensors |= {f"{kind}.{name}": moments[kind] for kind in MOMENTS if kind in moments}
        header = {
            "recipe": self.recipe.to_dict(),
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "losses": self.losses,
        }
        return Stored(tensors=tensors, header=header)

    def restore(self, stored: Stored) -> None:
        """Go on from a `state`. Raises ConfigError for one of another recipe, CorruptBankError for one that doesn't fit."""
        changed = differing(stored.header.get("recipe", {}), self.recipe.to_dict())
        if changed:
            raise ConfigError(f"The run was begun with other settings: {'; '.join(changed)}; give the same again, or start anew.")
        try:
            header, tensors = stored.header, dict(stored.tensors)
            self.step, self.skipped = int(header["step"]), int(header["skipped"])
            self.seconds, self.losses = float(header["seconds"]), [float(loss) for loss in header["losses"]]
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(tensors[f"model.{name}"])
                    moments = {kind: tensors[f"{kind}.{name}"] for kind in MOMENTS if f"{kind}.{name}" in tensors}
                    if moments:
                        self.optimizer.state[parameter] = {
                            kind: moment.to(self.device if kind != "step" else "cpu", copy=True) for kind, moment in moments.items()
                        }
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CorruptBankError(f"The checkpoint is damaged ({error}); delete it and train again.") from error


def query_loss(model: BMojoForCausalLM, batch: Examples) -> Tensor:
    """Mean cross-entropy at the queries, in nats."""
    asked = batch.labels != IGNORED
    return F.cross_entropy(answers(model, batch), batch.labels[asked])


def answers(model: BMojoForCausalLM, batch: Examples) -> Tensor:
    """Logits [n, V] at the queries, row by row."""
    read: Any = model.model(batch.inputs, use_cache=False)
    logits: Tensor = model.lm_head(read.last_hidden_state[batch.labels != IGNORED])
    return logits
