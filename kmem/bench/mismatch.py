"""How readable a bank still is for a model whose weights are no longer those that wrote it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.nll import target_nlls
from kmem.encoder.bracket import start_tokens
from kmem.encoder.encode import Encoder
from kmem.errors import MeasurementError
from kmem.identity import Identity
from kmem.kstore.bank import Bank
from kmem.memories import Memories
from kmem.profile import SPAN_TOKENS

SAMPLED = 16
"""Memories, spread over the bank."""
BEGUN, TOLD = 8, 40
"""Tokens of a reference that are given, and those after them that its memory has to tell."""


@dataclass(frozen=True, kw_only=True)
class Readable:
    """Nats a token of the rest of a reference after its beginning: with nothing, with the bank's memory, with one this model writes."""

    memories: int
    nothing: float
    stored: float
    own: float

    @property
    def share(self) -> float | None:
        """Of what a memory of the model's own tells, that the bank's tells; None where its own tells nothing."""
        gain = self.nothing - self.own
        return (self.nothing - self.stored) / gain if gain > 0 else None

    def __str__(self) -> str:
        told = "memories of its own tell this model nothing" if self.share is None else f"{self.share:.0%} of what it would write itself"
        figures = f"nothing {self.nothing:.3f}, the bank's {self.stored:.3f}, its own {self.own:.3f}"
        return f"the bank was written by other weights; {self.memories} of its memories tell this model: {told} (nats a token: {figures})"


def readable(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, bank: Bank) -> Readable:
    """Measure it on memories spread over the bank. Raises MeasurementError where no reference is long enough."""
    encoder = Encoder(model, tokenizer, bank.profile)
    ids, references = _sample(tokenizer, bank)
    begin = start_tokens(tokenizer)
    asked = [((*begin, *tokens[:BEGUN]), tokens[BEGUN : BEGUN + TOLD]) for tokens in references]
    reads = [(memory_id,) for memory_id in ids]
    count = sum(len(target) for _, target in asked)

    def nats(memories: Memories | None) -> float:
        return sum(target_nlls(model, asked, memories=memories, reads=None if memories is None else reads)) / count

    stored = as_written_by(bank.read(ids), encoder.spec.identity)
    stored = replace(stored, kv=stored.kv.to(model.dtype))
    return Readable(memories=len(ids), nothing=nats(None), stored=nats(stored), own=nats(encoder.encode_tokens(references, ids)))


def as_written_by(memories: Memories, identity: Identity) -> Memories:
    """The same numbers under another model's name, for whoever wants to know what reading them costs."""
    return replace(memories, spec=replace(memories.spec, identity=identity))


def _sample(tokenizer: PreTrainedTokenizerBase, bank: Bank) -> tuple[list[int], list[Sequence[int]]]:
    known = bank.ids.tolist()
    chosen = known[:: max(1, len(known) // SAMPLED)][:SAMPLED]
    found: dict[int, Sequence[int]] = {
        memory_id: tokenizer(bank.chunk(memory_id).reference, add_special_tokens=False)["input_ids"][:SPAN_TOKENS] for memory_id in chosen
    }
    long = {memory_id: tokens for memory_id, tokens in found.items() if len(tokens) > BEGUN}
    if not long:
        raise MeasurementError(f"None of {len(chosen)} memories of {bank.place} has more than {BEGUN} tokens, so nothing can be measured.")
    return list(long), list(long.values())
