"""Learning by gradient what answers need: scores become gates, and the model with its full cache is the teacher."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax
from transformers import PreTrainedModel

from kmem.errors import CorruptBankError
from kmem.models.namm.scorer import Namm, vector, with_vector
from kmem.progress import Progress, silent
from kmem.training.namm.gates import gates
from kmem.training.namm.recipe import DistillationConfig
from kmem.training.namm.recording import Recording, load_recording
from kmem.training.namm.replay import Prefix, answers
from kmem.training.stored import Stored
from kmem.training.trainer import MOMENTS

CLIP = 1.0
WARMUP_STEPS = 10
FALLING = 0.5
"""Of all steps, those in which the share kept falls from 1 and the temperature from 1; the learning rate falls in the others."""
DAMPING = 0.3
"""Of Newton's step, by which the last bias follows the share."""
SAVED = 50
"""Steps between two checkpoints."""


class Distiller:
    """Adam, a recording a step: KL(full cache ‖ gated cache) over the answer, in nats a token.

    The loss goes back to the gates through the model, and on to the network from there. How much is kept is not the gradient's to change:
    the part of it that would move the mean gate is taken out, and the last bias follows the share that is asked.
    """

    def __init__(
        self, model: PreTrainedModel, namm: Namm, paths: Sequence[Path], config: DistillationConfig, *, share: float, seed: int
    ) -> None:
        self._model, self._paths, self._config, self._share, self._seed = model, list(paths), config, share, seed
        self.namm = with_vector(namm, vector(namm)).requires_grad_(True).train()
        self.losses: list[float] = []
        self._parameters = dict(self.namm.named_parameters())
        rates = {name: config.head_learning_rate if name == "head_bias" else config.learning_rate for name in self._parameters}
        self._groups = [{"params": [parameter], "rate": rates[name]} for name, parameter in self._parameters.items()]
        self._optimizer = torch.optim.Adam(self._groups)
        self._teacher: dict[Path, Tensor] = {}

    def run(self, save: Callable[["Distiller"], None] = lambda distiller: None, *, progress: Progress = silent) -> Namm:
        """To the last step, from where it is; `save` is handed this every `SAVED` steps."""
        steps = self._config.steps
        progress("distillation", len(self.losses), steps)
        while len(self.losses) < steps:
            self._advance()
            progress("distillation", len(self.losses), steps)
            if len(self.losses) % SAVED == 0:
                save(self)
        return with_vector(self.namm, vector(self.namm)).requires_grad_(False).eval()

    def _advance(self) -> None:
        step, config = len(self.losses), self._config
        done = step / config.steps
        fallen = min(1.0, (step + 1) / (FALLING * config.steps))
        rate = min(1.0, (step + 1) / WARMUP_STEPS) * (1 + math.cos(math.pi * max(0.0, done - FALLING) / (1 - FALLING))) / 2
        for group in self._optimizer.param_groups:
            group["lr"] = group["rate"] * rate
        path = self._drawn(step)
        recording = load_recording(path)
        gate, slope = gates(self.namm, recording, config.temperature**fallen)
        loss, pull = self._loss(path, recording, gate.detach())
        kept = gate.detach().exp()
        rise = kept * slope  # of what is kept, with the last bias
        level = float((pull * slope).sum()) / max(float(rise.sum()), 1e-6)
        self._optimizer.zero_grad()
        (gate * (pull - level * kept)).sum().backward()  # type: ignore[no-untyped-call]  # torch has no annotation there
        for name in ("head_bias", "net"):
            torch.nn.utils.clip_grad_norm_([part for own, part in self._parameters.items() if own.startswith(name)], CLIP)
        self._optimizer.step()
        newton = (1 - (1 - self._share) * fallen - float(kept.mean())) / max(float(rise.mean()), 1e-3)
        with torch.no_grad():
            self.namm.net.score.bias.add_(DAMPING * min(1.0, max(-1.0, newton)))
        self.losses.append(loss)

    def _drawn(self, step: int) -> Path:
        """Every recording once, in an order of chance, before any comes again."""
        epoch, place = divmod(step, len(self._paths))
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._paths))
        return self._paths[int(order[place])]

    def _loss(self, path: Path, recording: Recording, gate: Tensor) -> tuple[float, Tensor]:
        """And its slope at the log gates [L, H, T]."""
        device = self._model.device
        everything = torch.ones(1, *gate.shape, dtype=torch.bool, device=device)
        prefix = Prefix(key=recording.key.to(device), value=recording.value.to(device), keep=everything)
        if path not in self._teacher:
            with torch.no_grad():
                logits, _ = answers(self._model, recording.example, prefix)
            self._teacher[path] = log_softmax(logits[0].float(), dim=-1).cpu()
        prefix.gate = gate.to(device).requires_grad_(True)
        logits, _ = answers(self._model, recording.example, prefix)
        wanted = self._teacher[path].to(device)
        loss = (wanted.exp() * (wanted - log_softmax(logits[0].float(), dim=-1))).sum(-1).mean()
        (slope,) = torch.autograd.grad(loss, prefix.gate)
        return float(loss.detach()), slope.cpu()

    # ------------------------------------------------------------------ checkpoints

    def state(self) -> Stored:
        """All that decides how it goes on."""
        tensors = {f"namm.{name}": parameter.detach() for name, parameter in self._parameters.items()}
        for name, parameter in self._parameters.items():
            tensors |= {f"{kind}.{name}": moment for kind, moment in self._optimizer.state.get(parameter, {}).items()}
        return Stored(tensors=tensors, header={"losses": self.losses})

    def restore(self, stored: Stored) -> None:
        """Go on from a `state`. Raises CorruptBankError for one that doesn't fit."""
        try:
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    parameter.copy_(stored.tensors[f"namm.{name}"])
                    self._optimizer.state[parameter] = {kind: stored.tensors[f"{kind}.{name}"].clone() for kind in MOMENTS}
            self.losses = [float(loss) for loss in stored.header["losses"]]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CorruptBankError(f"The checkpoint of the distillation is damaged ({error}); delete it and start again.") from error
