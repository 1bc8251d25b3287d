"""A prompt with an answer, and what a model's probabilities of the answer are worth."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from kmem.training.passages import Passage


@dataclass(frozen=True, kw_only=True)
class Example:
    """Token ids. texts: what is read first, with what every prompt begins with; question; answer.

    begin: how many of `texts` every prompt begins with. documents: ids of all whose text it holds.
    """

    task: str
    texts: tuple[int, ...]
    question: tuple[int, ...]
    answer: tuple[int, ...]
    begin: int
    documents: tuple[int, ...]

    @property
    def context(self) -> tuple[int, ...]:
        """Texts and question."""
        return self.texts + self.question

    @property
    def alone(self) -> tuple[int, ...]:
        """The question without the texts: what a model knows or guesses."""
        return self.texts[: self.begin] + self.question


def ids_of(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Without special tokens."""
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def begin(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What a prompt begins with."""
    return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]


def build(
    tokenizer: PreTrainedTokenizerBase, task: str, texts: Sequence[str], question: str, answer: str, *, documents: Sequence[Passage]
) -> Example:
    """Texts one after another, then the question, then the answer."""
    first = begin(tokenizer)
    return Example(
        task=task,
        texts=(*first, *(token for text in texts for token in ids_of(tokenizer, text))),
        question=tuple(ids_of(tokenizer, question)),
        answer=tuple(ids_of(tokenizer, answer)),
        begin=len(first),
        documents=tuple(passage.id for passage in documents),
    )


def score(logits: Tensor, answer: Tensor) -> Tensor:
    """[B, A, V] logits at each token of the answer [B, A] or [A] → [B] mean probability of the right token: the share of the answer
    that a model sampling token by token behind the right beginning gets right.

    Graded, so that a small change of the cache can be told; bounded, so that no single token decides, as in a mean of log-probabilities.
    """
    chances = logits.float().softmax(dim=-1)
    wanted = answer.expand(logits.shape[:2]).unsqueeze(-1)
    return torch.gather(chances, -1, wanted).squeeze(-1).mean(dim=-1)
