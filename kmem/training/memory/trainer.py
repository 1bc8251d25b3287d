"""Stage two, step by step, in a way that goes on bit for bit where it stopped."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from kmem.encoder.encode import Encoder
from kmem.errors import ConfigError, CorruptBankError
from kmem.options import differing
from kmem.progress import Progress, silent
from kmem.training.memory.judge import Judge, share_of_text_gain
from kmem.training.memory.lessons import Lessons
from kmem.training.memory.objective import computing, loss_of
from kmem.training.memory.recipe import Recipe
from kmem.training.memory.schedule import learning_rate
from kmem.training.memory.spikes import is_spike
from kmem.training.memory.trained import Trained
from kmem.training.stored import Stored
from kmem.training.trainer import MOMENTS

HALVED = 0.5
"""The rate after weights went back to the last checkpoint."""
BETAS = (0.9, 0.95)


class Trainer:
    """One run. `step` updates are behind it; curve: a line a step, and one a look at what is held out (`judged`).

    skipped: steps that changed nothing. rolled_back: those after which weights went back to the last checkpoint. scale: of the rate.
    """

    def __init__(self, recipe: Recipe, encoder: Encoder, trained: Trained, lessons: Lessons, judge: Judge) -> None:
        self.recipe, self.encoder, self.trained = recipe, encoder, trained
        self._lessons, self._judge = lessons, judge
        self.optimizer = torch.optim.AdamW(trained.parameters.values(), betas=BETAS, weight_decay=recipe.training.weight_decay)
        self.step, self.skipped, self.rolled_back, self.scale, self.seconds = 0, 0, 0, 1.0, 0.0
        self.curve: list[dict[str, Any]] = []
        self.accepted: list[float] = []
        self.before: dict[str, float] = {}
        self._kept: dict[str, Tensor] | None = None

    def run(self, save: Callable[[Self], None] = lambda trainer: None, *, progress: Progress = silent) -> None:
        """To the last step; `save` is handed this trainer every `checkpoint_steps` and at the end."""
        training = self.recipe.training
        progress("train", self.step, training.steps)
        if not self.before:
            self.before = self._judge.before(self.trained.untrained)
            self._look()
        while self.step < training.steps:
            self.advance()
            if self.step % training.judge_steps == 0 or self.step == training.steps:
                self._look()
            if self.step % training.checkpoint_steps == 0 or self.step == training.steps:
                self._kept = self._tensors(copy=True)
                save(self)
            progress("train", self.step, training.steps)

    def advance(self) -> float:
        """One step of `accumulate` batches; its loss. One that is passed over changes nothing but the counts."""
        began, training, model = time.perf_counter(), self.recipe.training, self.encoder.model
        if self._kept is None:
            self._kept = self._tensors(copy=True)
        self.optimizer.zero_grad()
        loss, parts = 0.0, dict[str, float]()
        for batch in range(training.accumulate):
            examples = self._lessons.batch(self.step * training.accumulate + batch)
            with computing(model.device, training.dtype):
                found = loss_of(self.encoder, examples, self._lessons.references, self.recipe.losses, self.trained.untrained)
            (found.total / training.accumulate).backward()  # type: ignore[no-untyped-call]  # torch has no annotation there
            loss += float(found.total.detach()) / training.accumulate
            for name, value in found.parts.items():
                parts[name] = parts.get(name, 0.0) + value / training.accumulate
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained.parameters.values(), training.clip))
        rate = learning_rate(training, self.step) * self.scale
        line: dict[str, Any] = {"step": self.step, "loss": loss, **parts, "norm": norm, "rate": rate}
        if is_spike(training, loss, norm, self.accepted):
            line["passed_over"] = training.spike
            self._pass_over()
        else:
            self.optimizer.param_groups[0]["lr"] = rate
            self.optimizer.step()
            self.accepted = [*self.accepted[1 - training.spike_window :], loss]
        self.step += 1
        self.curve.append(line)
        self.seconds += time.perf_counter() - began
        return loss

    def _pass_over(self) -> None:
        self.skipped += 1
        if self.recipe.training.spike == "roll_back" and self._kept is not None:
            self.rolled_back += 1
            self.scale *= HALVED
            self._put(self._kept)

    def _look(self) -> None:
        """Note how what is held out is read now."""
        began = time.perf_counter()
        with computing(self.encoder.model.device, self.recipe.training.dtype):
            now = self._judge.now(self.encoder)
        share = share_of_text_gain(self.before, now["memories"])
        self.curve.append({"step": self.step, "judged": {**self.before, **now, "share_of_text_gain": share}})
        self.seconds += time.perf_counter() - began

    # ------------------------------------------------------------------ checkpoints

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides what comes out, as JSON has it."""
        identity = self.encoder.spec.identity
        return {**self.recipe.to_dict(), "identity": {**identity.to_dict(), "model": ""}}

    def state(self) -> Stored:
        """All that decides how the run goes on."""
        header = {
            "recipe": dict(self.settings),
            **{name: getattr(self, name) for name in ("step", "skipped", "rolled_back", "scale", "seconds", "curve", "accepted", "before")},
        }
        return Stored(tensors=self._tensors(), header=header)

    def restore(self, stored: Stored) -> None:
        """Go on from a `state`. Raises ConfigError for one of another recipe or model, CorruptBankError for one that doesn't fit."""
        changed = differing(stored.header.get("recipe", {}), self.settings)
        if changed:
            raise ConfigError(f"The run was begun with other settings: {'; '.join(changed)}; give the same again, or start anew.")
        try:
            header = stored.header
            self.step, self.skipped, self.rolled_back = (int(header[name]) for name in ("step", "skipped", "rolled_back"))
            self.scale, self.seconds = float(header["scale"]), float(header["seconds"])
            self.curve, self.accepted, self.before = list(header["curve"]), list(header["accepted"]), dict(header["before"])
            self._put(stored.tensors)
            self._kept = self._tensors(copy=True)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CorruptBankError(f"The checkpoint is damaged ({error}); delete it and train again.") from error

    def _tensors(self, *, copy: bool = False) -> dict[str, Tensor]:
        found = {f"model.{name}": parameter.detach() for name, parameter in self.trained.parameters.items()}
        for name, parameter in self.trained.parameters.items():
            moments = self.optimizer.state.get(parameter, {})
            found |= {f"{kind}.{name}": moments[kind] for kind in MOMENTS if kind in moments}
        return {name: tensor.clone() for name, tensor in found.items()} if copy else found

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.trained.parameters.items():
                parameter.copy_(tensors[f"model.{name}"])
                moments = {kind: tensors[f"{kind}.{name}"] for kind in MOMENTS if f"{kind}.{name}" in tensors}
                self.optimizer.state.pop(parameter, None)
                if moments:
                    self.optimizer.state[parameter] = {
                        kind: moment.to(parameter.device if kind != "step" else "cpu", copy=True) for kind, moment in moments.items()
                    }
