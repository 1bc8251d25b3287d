"""Training in steps that depend on their number alone, in a way that goes on bit for bit where it stopped."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from kmem.errors import ConfigError, CorruptBankError
from kmem.models.bmojo import BMojoConfig, BMojoForCausalLM
from kmem.options import differing
from kmem.progress import Progress, silent
from kmem.training.stored import Stored

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW remembers of a parameter."""


class Schedule(Protocol):
    """steps: updates by AdamW. clip: of the norm of the gradient. checkpoint_steps: between two checkpoints."""

    @property
    def steps(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def checkpoint_steps(self) -> int: ...


class Trainer(ABC):
    """One run. `step` updates are behind it; losses: one a step, in nats; skipped: steps whose gradient was not finite.

    settings: all that decides what comes out, as JSON has it. name: what progress calls the run.
    """

    def __init__(self, config: BMojoConfig, schedule: Schedule, settings: Mapping[str, Any], *, seed: int, name: str, device: str) -> None:
        self.schedule, self.settings, self.name, self.device = schedule, settings, name, torch.device(device)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = BMojoForCausalLM(config).to(self.device).train()
        self.parameters = dict(self.model.named_parameters())
        self.optimizer = torch.optim.AdamW(self.parameters.values(), weight_decay=schedule.weight_decay)
        self.step, self.skipped, self.seconds = 0, 0, 0.0
        self.losses: list[float] = []

    @abstractmethod
    def loss(self) -> Tensor:
        """Of the step that comes next, in nats; a matter of its number alone."""

    def run(self, save: Callable[[Self], None] = lambda trainer: None, *, progress: Progress = silent) -> None:
        """To the last step; `save` is handed this trainer every `checkpoint_steps` and at the end."""
        steps = self.schedule.steps
        progress(self.name, self.step, steps)
        while self.step < steps:
            self.advance()
            progress(self.name, self.step, steps)
            if self.step % self.schedule.checkpoint_steps == 0 or self.step == steps:
                save(self)

    def advance(self) -> float:
        """One step; its loss. A step whose gradient isn't finite changes nothing but the count of those."""
        began = time.perf_counter()
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation there
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.schedule.clip)
        if math.isfinite(float(norm)):
            self.optimizer.param_groups[0]["lr"] = learning_rate(self.schedule, self.step)
            self.optimizer.step()
        else:
            self.skipped += 1
        self.step += 1
        self.losses.append(float(loss.detach()))
        self.seconds += time.perf_counter() - began
        return self.losses[-1]

    # ------------------------------------------------------------------ checkpoints

    def state(self) -> Stored:
        """All that decides how the run goes on."""
        tensors = {f"model.{name}": parameter for name, parameter in self.parameters.items()}
        for name, parameter in self.parameters.items():
            moments = self.optimizer.state.get(parameter, {})
            tensors |= {f"{kind}.{name}": moments[kind] for kind in MOMENTS if kind in moments}
        header = {
            "recipe": dict(self.settings),
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "losses": self.losses,
        }
        return Stored(tensors=tensors, header=header)

    def restore(self, stored: Stored) -> None:
        """Go on from a `state`. Raises ConfigError for one of another recipe, CorruptBankError for one that doesn't fit."""
        changed = differing(stored.header.get("recipe", {}), self.settings)
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


def learning_rate(schedule: Schedule, step: int) -> float:
    """Up in a straight line, then down as half a cosine to 0."""
    if step < schedule.warmup_steps:
        return schedule.learning_rate * (step + 1) / schedule.warmup_steps
    done = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
    return schedule.learning_rate * (1 + math.cos(math.pi * done)) / 2
