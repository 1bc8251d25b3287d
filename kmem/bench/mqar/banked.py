"""Pairs that are in a bank alone: the pairs of each example are encoded as memories, and its queries are read by themselves."""

from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder
from kmem.models.bmojo import BMojoForCausalLM
from kmem.profile import SPAN_TOKENS, Profile
from kmem.progress import Progress, silent
from kmem.runtime.attach import attach
from kmem.training.mqar.generate import IGNORED, TEST, examples
from kmem.training.mqar.task import TaskConfig

FILLER = 0


class Banked(NamedTuple):
    """Shares of right answers while the memories are attached, and without them."""

    attached: float
    without: float


@torch.no_grad()
def banked_recall(
    model: BMojoForCausalLM, task: TaskConfig, sequences: int, *, seed: int, name: str = "", progress: Progress = silent
) -> Banked:
    """Over fresh examples of the task. Their memories, of 128 tokens each and without a bracket, keep by innovation as many tokens
    together as a layer's store holds.
    """
    anatomy, cuts = examine(model), -(-task.tokens // SPAN_TOKENS)
    kept = SPAN_TOKENS if model.config.eidetic is None else max(1, min(SPAN_TOKENS, model.config.eidetic // cuts))
    profile = Profile(name="pairs", budget=((kept,) * anatomy.heads,) * anatomy.layers, selector="innovation", prefix="")
    encoder = Encoder(model, numbers(task.vocab_size), profile)
    batch = examples(task, sequences, seed=seed, stream=TEST, index=0)
    texts, questions = apart(batch.inputs, batch.labels != IGNORED)
    attached = without = queries = 0
    progress(name, 0, sequences)
    for index, (text, question, label) in enumerate(zip(texts, questions, batch.labels, strict=True), start=1):
        pieces = [text[first : first + SPAN_TOKENS].tolist() for first in range(0, task.tokens, SPAN_TOKENS)]
        memories = encoder.encode_tokens(pieces, range(cuts))
        without += _right(model, question, label)
        with attach(model, memories):
            attached += _right(model, question, label)
        queries += int((label != IGNORED).sum())
        progress(name, index, sequences)
    return Banked(attached / queries, without / queries)


def apart(inputs: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """What is to be known, and what is asked of it: inputs [B, T] without the queries, and the queries [B, T] alone."""
    return inputs.masked_fill(asked, FILLER), inputs.masked_fill(~asked, FILLER)


def numbers(vocabulary: int) -> PreTrainedTokenizerBase:
    """A tokenizer whose words are the tokens' numbers."""
    backend = Tokenizer(models.WordLevel({str(number): number for number in range(vocabulary)}, unk_token=str(FILLER)))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def _right(model: BMojoForCausalLM, question: Tensor, label: Tensor) -> int:
    here: Any = question[None].to(model.device)
    asked = label != IGNORED
    return int((model(here).logits[0, asked].argmax(-1).cpu() == label[asked]).sum())
