"""How much of what a text in the prompt gains do its memories gain? (DESIGN §3's measurement, on FOLDOC.)"""

import random
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.config import QualityConfig
from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder
from kmem.encoder.profiles import dense_profile, load_profile
from kmem.kbuild.foldoc import articles
from kmem.progress import Progress, silent
from kmem.training.passages import Passage
from kmem.training.probes import Probe, target_nll
from kmem.training.probes.title import title


def measure_quality(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: QualityConfig, *, progress: Progress = silent
) -> dict[str, dict[str, float]]:
    """`nll` per target token (nats), `share_of_text_gain` and `bytes_per_memory` (float16) of each way to know.

    Oracle: each question reads the memory of its own article. share = (nothing − x) / (nothing − text), of NLL summed over all targets.
    """
    probes = foldoc_probes(tokenizer, count=config.articles, seed=config.seed)
    tokens = sum(len(probe.target) for probe in probes)
    anatomy = examine(model)
    layers, heads = anatomy.layers, anatomy.heads
    profiles = {name.replace("-", "_"): load_profile(name, layers=layers, heads=heads) for name in config.profiles}
    profiles["dense"] = dense_profile(layers, heads, like=next(iter(profiles.values())))
    total, done = len(probes) * (len(profiles) + 2), 0
    nll: dict[str, float] = {}
    for name in ("nothing", "text", *profiles):
        encoder = Encoder(model, tokenizer, profiles[name]) if name in profiles else None
        nll[name] = 0.0
        for probe in probes:
            nll[name] += _probe_nll(model, probe, name, encoder) / tokens
            done += 1
            progress("measure", done, total)
    gain = nll["nothing"] - nll["text"]
    return {
        "nll": nll,
        "share_of_text_gain": {name: (nll["nothing"] - nll[name]) / gain for name in profiles},
        "bytes_per_memory": {name: profile.slots * 2 * anatomy.head_dim * 2 for name, profile in profiles.items()},
    }


def foldoc_probes(tokenizer: PreTrainedTokenizerBase, *, count: int, seed: int) -> Sequence[Probe]:
    """The first `count` articles after a seeded shuffle, as probes."""
    chosen = articles()
    random.Random(seed).shuffle(chosen)
    made = (title(tokenizer, Passage(name, body)) for name, body in chosen[:count])
    return [probe for probe in made if probe is not None]


def _probe_nll(model: PreTrainedModel, probe: Probe, way: str, encoder: Encoder | None) -> float:
    if encoder is not None:
        return target_nll(model, probe.context, probe.target, encoder.encode_tokens([probe.reference], [0]))
    return target_nll(model, probe.text_context if way == "text" else probe.nothing_context, probe.target)
