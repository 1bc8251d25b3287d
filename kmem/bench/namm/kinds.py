"""What is forgotten: prose, code and tables in one prompt, and the share of each that a layer keeps."""

import inspect
import textwrap
from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.namm.noted import Noted
from kmem.runtime.manage import manage
from kmem.runtime.policies import Policy
from kmem.training.namm.tasks import ids_of
from kmem.training.passages import Passage

KINDS = ("prose", "code", "table")
MODULES = (inspect, textwrap)
"""Of Python's standard library, whose source is the code."""
SEGMENT_TOKENS = 128
SEGMENTS = 12
ROWS = 40


def forgotten(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, policy: Policy, passages: Sequence[Passage], count: int, *, seed: int
) -> dict[str, list[float]]:
    """By kind, the share that each layer keeps at the last firing, over `count` prompts of segments of 128 tokens in turn; newest first
    fired and protected tokens count like others.
    """
    held = {kind: np.zeros(0) for kind in KINDS}
    for number in range(count):
        ids, kinds = _mixed(tokenizer, passages, np.random.default_rng([seed, number]))
        noted = Noted(policy)
        with torch.inference_mode(), manage(model, noted):
            model(input_ids=torch.tensor([ids], device=model.device), use_cache=True, logits_to_keep=1)
        for kind in KINDS:
            mine = torch.tensor([own == kind for own in kinds])
            shares = [float(kept[:, mine[: kept.shape[1]]].float().mean()) for _, kept in sorted(noted.kept.items())]
            held[kind] = np.asarray(shares) / count + (held[kind] if number else 0)
    return {kind: [round(float(share), 4) for share in shares] for kind, shares in held.items()}


def _mixed(tokenizer: PreTrainedTokenizerBase, passages: Sequence[Passage], random: np.random.Generator) -> tuple[list[int], list[str]]:
    """Tokens, and of which kind each is; the kinds take turns, and which is first is a matter of chance."""
    chosen = [passages[index] for index in random.permutation(len(passages))[: 2 * ROWS]]
    code = "\n".join(inspect.getsource(module) for module in MODULES)
    start = int(random.integers(len(code) // 2))
    texts = {
        "prose": " ".join(passage.body for passage in chosen),
        "code": code[code.index("\n", start) :],
        "table": "\n".join(f"| {passage.title} | {len(passage.body)} | {passage.id % 1000} |" for passage in chosen),
    }
    ids = {kind: ids_of(tokenizer, text) for kind, text in texts.items()}
    first = int(random.integers(len(KINDS)))
    tokens: list[int] = []
    kinds: list[str] = []
    for segment in range(SEGMENTS):
        kind = KINDS[(first + segment) % len(KINDS)]
        at = (segment // len(KINDS)) * SEGMENT_TOKENS % max(1, len(ids[kind]) - SEGMENT_TOKENS)
        piece = ids[kind][at : at + SEGMENT_TOKENS]
        tokens, kinds = tokens + piece, kinds + [kind] * len(piece)
    return tokens, kinds
