"""How well the model reads memories of held-out passages at this point of training, beside the text itself and nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase

from kmem.encoder.encode import Encoder
from kmem.errors import SourceNotFoundError
from kmem.training.memory.lessons import question, questions_of
from kmem.training.memory.objective import Teacher, reading_logits
from kmem.training.passages import Passage
from kmem.training.probes import Probe, reference_ids
from kmem.training.probes.losses import target_losses

AT_ONCE = 8
PLACES = 5


class Judge:
    """Probes of held-out passages, a title's each where it has one. Raises SourceNotFoundError for passages that give none."""

    def __init__(self, judged: Sequence[Passage], tokenizer: PreTrainedTokenizerBase) -> None:
        found = questions_of(judged, tokenizer)
        self._asked: list[tuple[int, Probe]] = next(iter(found.values()))
        self._references = [reference_ids(tokenizer, passage) for passage in judged]
        self._tokens = sum(len(probe.target) for _, probe in self._asked)
        if not self._tokens:
            raise SourceNotFoundError("The held-out documents give nothing to judge by; name a corpus with more.")

    def before(self, teacher: Teacher) -> dict[str, float]:
        """Nats a target token of the untrained model: `nothing`, and with the `text` in its prompt."""
        with torch.no_grad(), teacher() as model:
            parts = [[probe for _, probe in part] for part in self._parts()]
            nothing = [target_losses(model, [(probe.nothing_context, probe.target) for probe in part]) for part in parts]
            text = [target_losses(model, [(probe.text_context, probe.target) for probe in part]) for part in parts]
        return {"nothing": self._mean(nothing), "text": self._mean(text)}

    def now(self, encoder: Encoder) -> dict[str, float]:
        """The same of the model as it is: with `memories`, each its own, and `without`."""
        with_memories: list[Tensor] = []
        without: list[Tensor] = []
        with torch.no_grad():
            for part in self._parts():
                logits = reading_logits(encoder, [question(probe, (row,)) for row, probe in part], self._references)
                targets = torch.tensor([token for _, probe in part for token in probe.target], device=logits.device)
                with_memories.append(cross_entropy(logits, targets, reduction="sum"))
                without.append(target_losses(encoder.model, [(probe.nothing_context, probe.target) for _, probe in part]))
        return {"memories": self._mean(with_memories), "without": self._mean(without)}

    def _parts(self) -> list[list[tuple[int, Probe]]]:
        return [self._asked[at : at + AT_ONCE] for at in range(0, len(self._asked), AT_ONCE)]

    def _mean(self, losses: Sequence[Tensor]) -> float:
        return round(sum(float(loss.double().sum()) for loss in losses) / self._tokens, PLACES)


def share_of_text_gain(before: dict[str, float], memories: float) -> float | None:
    """(nothing − memories) / (nothing − text) by the untrained model's nothing and text; None where the text gains nothing."""
    gain = before["nothing"] - before["text"]
    return round((before["nothing"] - memories) / gain, PLACES) if gain > 0 else None
