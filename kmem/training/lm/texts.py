"""Documents as one stream of tokens, those to learn from and those to be judged by apart."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kmem.encoder.load import load_tokenizer
from kmem.errors import SourceNotFoundError
from kmem.identity import content_id
from kmem.training.lm.recipe import DataConfig
from kmem.training.lm.vocabulary import END, cut
from kmem.training.passages import passages


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts:
    """learnt, judged: [n] int64, document after document in an order of their hash, each with END behind it.

    bytes_per_token: of held-out text in UTF-8.
    """

    learnt: Tensor
    judged: Tensor
    bytes_per_token: float

    def batch(self, rows: int, tokens: int, *, seed: int, step: int) -> Tensor:
        """[rows, tokens] from anywhere in what is learnt from; the same arguments give the same."""
        starts = np.random.default_rng([seed, step]).integers(len(self.learnt) - tokens + 1, size=rows)
        return self.learnt[torch.from_numpy(starts)[:, None] + torch.arange(tokens)]


def read_texts(data: DataConfig, *, least: int) -> Texts:
    """All that can be learnt from, and the first `judged_tokens` to be judged by.

    Raises SourceNotFoundError where the corpora hold less, or no `least` tokens to learn from, and what reading them raises.
    """
    tokenizer = cut(load_tokenizer(data.tokenizer), data.vocab_size)
    end = tokenizer.token_to_id(END)
    streams = []
    for held_out in (False, True):
        found = [passage for corpus in data.corpora for passage in passages(corpus, held_out=held_out)]
        texts = [passage.reference for passage in sorted(found, key=lambda passage: content_id(passage.id))]
        streams.append((texts, tokenizer.encode_batch_fast(texts, add_special_tokens=False)))
    learnt, judged = (
        torch.from_numpy(np.concatenate([np.asarray([*encoded.ids, end], dtype=np.int64) for encoded in every])) for _, every in streams
    )
    if len(learnt) < least or len(judged) < data.judged_tokens:
        said = f"{len(learnt)} tokens to learn from and {len(judged)} to be judged by"
        raise SourceNotFoundError(f"{', '.join(data.corpora)} hold {said}, where {least} and {data.judged_tokens} are needed.")
    size = sum(len(text.encode()) for text in streams[1][0])
    return Texts(learnt=learnt, judged=judged[: data.judged_tokens], bytes_per_token=size / len(judged))
