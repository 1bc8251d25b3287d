"""A model with an adapter beside the same untrained: what its memories tell, what another's tell it, and what it costs without any."""

import math
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.config import AdapterConfig, QualityConfig
from kmem.bench.mismatch import as_written_by
from kmem.bench.nll import Tick, target_nlls
from kmem.bench.profiles import chosen_profiles
from kmem.bench.quality import Asked, among_five, ask, encode, read
from kmem.bench.questions import Question, measure_questions
from kmem.bench.share import shares
from kmem.bench.stored import stored_bytes
from kmem.encoder.adapter import read_adapter
from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder
from kmem.encoder.fingerprint import display_name
from kmem.encoder.load import load_model
from kmem.errors import ConfigError
from kmem.profile import Profile
from kmem.progress import Progress, silent
from kmem.training.passages import passages

TEXT_TOKENS = 256
"""Of a text whose perplexity counts."""


def measure_adapter(
    model: str, config: AdapterConfig, *, questions: Sequence[Question] = (), progress: Progress = silent
) -> dict[str, Any]:
    """`nll` and `share_of_text_gain`, with `low95`, by way to know; shares are of what the text gains the untrained model.

    Ways: `nothing` and `text`, untrained, `adapter_nothing` and `adapter_text`; of each profile of S slots `profile_S` and `among_five_S`,
    untrained, `adapter_S` and `adapter_among_five_S`, with the adapter, and `adapter_reads_untrained_S`: memories that the untrained model
    wrote, read with the adapter. `base`: perplexity without memories of another corpus' held-out texts. `questions`, where there are any:
    what `measure_questions` gives, free answers included, `untrained` and with the `adapter`.
    Raises what `read_adapter`, loading, and reading the corpora raise.
    """
    profiles = config.profiles or (_own_profile(config.adapter),)
    untrained, tokenizer = load_model(model)
    trained, _ = load_model(model, adapter=config.adapter)
    asked_config = QualityConfig(corpus=config.corpus, articles=config.articles, pool=config.articles, profiles=profiles)
    chosen = chosen_profiles(untrained, asked_config)
    asked = ask(tokenizer, asked_config)
    ways = 4 + 5 * len(chosen)
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        done += more
        progress("measure", done, ways * len(asked.probes))

    tick(0)
    losses: dict[str, list[float]] = {}
    for before, reader in (("", untrained), ("adapter_", trained)):
        losses[f"{before}nothing"] = target_nlls(reader, [(probe.nothing_context, probe.target) for probe in asked.probes], tick=tick)
        losses[f"{before}text"] = target_nlls(reader, [(probe.text_context, probe.target) for probe in asked.probes], tick=tick)
    for key, profile in chosen.items():
        size = key.removeprefix("profile_")
        found = _of_profile(untrained, trained, tokenizer, asked, profile, progress, tick)
        for name, values in found.items():
            losses[f"{name}_{size}"] = values
    share, low = shares(losses)
    tokens, dim = sum(len(probe.target) for probe in asked.probes), examine(untrained).head_dim
    answered = {
        name: measure_questions(reader, tokenizer, questions, chosen, progress=progress)
        for name, reader in (("untrained", untrained), ("adapter", trained))
        if questions
    }
    return {
        "settings": {
            "model": display_name(trained),
            "corpus": config.corpus,
            "profiles": {name: profile.name for name, profile in chosen.items()},
            "articles": len(asked.probes),
            "skipped": asked.skipped,
        },
        "nll": {name: sum(values) / tokens for name, values in losses.items()},
        "share_of_text_gain": share,
        "low95": low,
        "bytes_per_memory": {name: stored_bytes(profile, dim) for name, profile in chosen.items()},
        "base": _base(untrained, trained, tokenizer, config, progress),
        **({"questions": answered} if answered else {}),
    }


def _of_profile(
    untrained: PreTrainedModel,
    trained: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Asked,
    profile: Profile,
    progress: Progress,
    tick: Tick,
) -> dict[str, list[float]]:
    rows, found = range(len(asked.probes)), {}
    own, five = [(row,) for row in rows], among_five(len(rows))
    before = encode(Encoder(untrained, tokenizer, profile), asked, rows, progress)
    encoder = Encoder(trained, tokenizer, profile)
    after = encode(encoder, asked, rows, progress)
    found["profile"] = read(untrained, asked, before, own, tick)
    found["among_five"] = read(untrained, asked, before, five, tick)
    found["adapter"] = read(trained, asked, after, own, tick)
    found["adapter_among_five"] = read(trained, asked, after, five, tick)
    found["adapter_reads_untrained"] = read(trained, asked, as_written_by(before, encoder.spec.identity), own, tick)
    return found


def _base(
    untrained: PreTrainedModel, trained: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: AdapterConfig, progress: Progress
) -> dict[str, Any]:
    """Perplexity of the first tokens of held-out texts, each alone, with nothing before it."""
    texts = [passage.reference for passage in passages(config.other, held_out=True)[: config.texts]]
    tokens = [tokenizer(text, add_special_tokens=False)["input_ids"][:TEXT_TOKENS] for text in texts]
    asked: Sequence[tuple[list[int], list[int]]] = [(own[:1], own[1:]) for own in tokens if len(own) > 1]
    count = sum(len(target) for _, target in asked)
    found = {}
    progress("base", 0, 2)
    for done, (name, model) in enumerate((("untrained", untrained), ("adapter", trained)), 1):
        found[name] = math.exp(sum(target_nlls(model, asked)) / count)
        progress("base", done, 2)
    return {"corpus": config.other, "texts": len(asked), **found, "adapter_over_untrained": found["adapter"] / found["untrained"]}


def _own_profile(folder: str) -> str:
    """The profile an adapter was trained for, as a name or a file that `load_profile` takes. Raises ConfigError where nothing says so."""
    found = read_adapter(folder).profile
    if found is None:
        raise ConfigError(f"Nothing in {folder} says which profile it was trained for: name one with --profile.")
    return str(found)
