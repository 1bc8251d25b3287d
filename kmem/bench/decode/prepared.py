"""The bank that is read, and the prompts: real text about what the bank holds."""

from collections import Counter
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from kmem import __version__
from kmem.bench.decode.config import DecodeConfig
from kmem.errors import ConfigError
from kmem.identity import content_id
from kmem.kbuild.sources import documents
from kmem.kstore.bank import Bank
from kmem.paths import make_cache_folder
from kmem.pipelines.build import build
from kmem.pipelines.config import BuildConfig
from kmem.profile import SPAN_TOKENS
from kmem.progress import Progress, silent

CHARACTERS_A_TOKEN = 8
"""More than text has, so that a running text is never too short."""
LONGEST = 64
"""Chunks that a prompt is cut from at most: none has less than one token."""


def cached_bank(config: DecodeConfig, *, model: str, device: str, progress: Progress = silent) -> Path:
    """The bank of these settings, built once into the user's cache. Raises what `build` raises."""
    settings = BuildConfig(model=model, profile=config.profile, device=device, limit=config.memories)
    name = f"{content_id(__version__, config.corpus, str(config.running), *map(str, settings.to_dict().values())):016x}"
    folder = make_cache_folder("bench") / f"decode-{name}"
    source = config.corpus
    if config.running:
        text = folder.with_suffix(".txt")
        text.write_text(running_text(config), encoding="utf-8")
        source = str(text)
    build(source, out=folder, config=settings, resume=True, progress=progress)
    return folder


def running_text(config: DecodeConfig) -> str:
    """The corpus's first documents in one line, enough of them for the bank."""
    parts: list[str] = []
    enough = config.memories * SPAN_TOKENS * CHARACTERS_A_TOKEN
    for document in documents([config.corpus], Counter()):
        parts.append(" ".join(document.text.split()))
        if sum(map(len, parts)) >= enough:
            break
    return " ".join(parts)


def make_prompts(bank: Bank, tokenizer: PreTrainedTokenizerBase, rows: int, config: DecodeConfig) -> list[list[int]]:
    """[rows] token ids, `prompt_tokens` each: the bank's own texts, from a random chunk of it on.

    Raises ConfigError for a bank of fewer than `top_k` memories, or of too little text.
    """
    ids = bank.ids.tolist()
    if len(ids) < config.top_k:
        raise ConfigError(f"{bank} holds fewer memories than the {config.top_k} that are read at once; give a larger one.")
    starts = np.random.default_rng(config.seed).choice(len(ids), rows, replace=rows > len(ids))
    return [_prompt(bank, tokenizer, [*ids[start:], *ids[:start]], config.prompt_tokens) for start in starts.tolist()]


def _prompt(bank: Bank, tokenizer: PreTrainedTokenizerBase, ids: list[int], tokens: int) -> list[int]:
    text = "\n".join(chunk.text for chunk in bank.chunks(ids[: max(LONGEST, tokens)]))
    found: list[int] = tokenizer(text)["input_ids"][:tokens]
    if len(found) < tokens:
        raise ConfigError(f"{bank} holds too little text for a prompt of {tokens} tokens; give a larger one, or ask for less.")
    return found
