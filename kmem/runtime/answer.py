"""Answer one prompt with nothing, with memories, or with the text of the same references in the prompt, and measure it."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

from kmem.arguments import require_text
from kmem.kstore.bank import Bank
from kmem.runtime.attach import attach
from kmem.runtime.defaults import AnswerConfig
from kmem.runtime.searching import hidden_states_for
from kmem.runtime.source import BankSource
from kmem.runtime.stats import Stats
from kmem.runtime.trace import TraceSpan

Knowledge = Literal["nothing", "memories", "text"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A generated text with its cost. `sources` were read (memories) or put into the prompt (text), best first."""

    knowledge: Knowledge
    text: str
    seconds: float
    first_token_s: float
    prompt_tokens: int
    new_tokens: int
    sources: tuple[str, ...] = ()
    trace: tuple[TraceSpan, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class _FirstToken(BaseStreamer):  # type: ignore[misc]
    """Notes when the first generated token arrived."""

    def __init__(self) -> None:
        self.began, self.first = time.perf_counter(), 0.0
        self._puts = 0

    def put(self, value: torch.Tensor) -> None:
        self._puts += 1
        if self._puts == 2:  # the first put is the prompt
            self.first = time.perf_counter() - self.began

    def end(self) -> None:
        """Nothing to flush."""


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    *,
    knowledge: Knowledge,
    bank: Bank,
    config: AnswerConfig | None = None,
    allow_mismatch: bool = False,
) -> Answer:
    """Generate greedily. `text` puts the references that the same search finds before the question, best last (nearest to it).

    allow_mismatch: as `attach` has it.
    """
    config = config or AnswerConfig()
    require_text(prompt, "prompt")
    question = config.template.replace("{prompt}", prompt)
    began = time.perf_counter()
    context: str = question
    found: tuple[str, ...] = ()
    if knowledge == "text":
        context, found = _with_text(question, model, tokenizer, bank, config.top_k)
    inputs = tokenizer(context, return_tensors="pt").to(model.device)
    prompt_tokens = inputs["input_ids"].shape[1]
    streamer = _FirstToken()
    options: dict[str, Any] = {"top_k": config.top_k, "every": config.every, "mode": config.mode, "allow_mismatch": allow_mismatch}
    reading = attach(model, bank, tokenizer=tokenizer, **options)
    with reading if knowledge == "memories" else nullcontext() as memory, torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=config.max_new_tokens, do_sample=False, streamer=streamer)
    seconds = time.perf_counter() - began
    trace = tuple(memory.trace) if memory is not None else ()
    new = output[0, prompt_tokens:]
    return Answer(
        knowledge=knowledge,
        text=tokenizer.decode(new, skip_special_tokens=True).strip(),
        seconds=seconds,
        first_token_s=streamer.first + (streamer.began - began),
        prompt_tokens=prompt_tokens,
        new_tokens=len(new),
        sources=_sources_read(trace) if trace else found,
        trace=trace,
    )


def _with_text(
    question: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, bank: Bank, top_k: int
) -> tuple[str, tuple[str, ...]]:
    tokens = tokenizer(question)["input_ids"]
    source = BankSource(bank, tokenizer, top_k, hidden=hidden_states_for(bank, model, tokenizer))
    (ids,) = source.retrieve([tokens], Stats())
    chunks = [bank.chunk(memory_id) for memory_id in ids]
    references = "\n".join(f"Reference: {chunk.reference}" for chunk in reversed(chunks))
    return f"{references}\n{question}", tuple(dict.fromkeys(chunk.source for chunk in chunks))


def _sources_read(trace: Sequence[TraceSpan]) -> tuple[str, ...]:
    """Sources by the attention they got over the whole answer."""
    weight: dict[str, float] = {}
    for span in trace:
        for read in span.reads:
            weight[read.source] = weight.get(read.source, 0.0) + read.attention * (span.stop - span.start)
    return tuple(sorted(weight, key=lambda source: -weight[source]))


def compare_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    *,
    bank: Bank,
    config: AnswerConfig | None = None,
    allow_mismatch: bool = False,
) -> list[Answer]:
    """The same prompt with nothing, with memories, and with the text of the same references in the prompt."""
    # Load embedder, index and weights, and hash the tokenizer, first: the one who is asked first would be charged for it.
    warm_up = AnswerConfig(max_new_tokens=2, top_k=1)
    answer(model, tokenizer, prompt, knowledge="memories", bank=bank, config=warm_up, allow_mismatch=allow_mismatch)
    ways: tuple[Knowledge, ...] = ("nothing", "memories", "text")
    return [
        answer(model, tokenizer, prompt, knowledge=knowledge, bank=bank, config=config, allow_mismatch=allow_mismatch) for knowledge in ways
    ]
