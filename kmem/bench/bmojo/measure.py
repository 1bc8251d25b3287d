"""The whole benchmark of B'MOJO's cost: every side in every round, in rotated order, and the medians of their pairs."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch

from kmem.bench.bmojo.config import BMOJO, EQUAL_LAYERS, TRANSFORMER, BMojoBenchConfig
from kmem.bench.bmojo.memory import peak_bytes
from kmem.bench.bmojo.sides import Learner, Reader, built, configs
from kmem.bench.pairs import in_turn, paired, timed
from kmem.kernels.chunked_window.attend import kept_masks
from kmem.models.bmojo import BMojoCache, BMojoForCausalLM
from kmem.models.bmojo.equal import parameters
from kmem.progress import Progress, silent

ASKED = {"over_transformer_8k": 3.0}
AT_MOST = {"cost_flat": 1.3, "memory_flat": 1.3, "train_step_over_hybrid": 1.0}
"""What issue 8 asks."""
LENGTH_ASKED = 8192
MICROSECONDS = 1e6
PLACES = 4


def measure_bmojo(config: BMojoBenchConfig, *, device: str = "cpu", progress: Progress = silent) -> dict[str, Any]:
    """Time (`clock_of`) and memory against length, and of a training step, of models with equal parameters and random weights.

    `us_per_token` of `bmojo`, read in pieces, and of `transformer`, read at once, its faster way; `cost_flat`: the largest over the
    smallest of the former, medians of ratios to the shortest text's within a round. `over_transformer`: by length, transformer's time over
    that of `bmojo`; `over_transformer_8k` at LENGTH_ASKED, and beside it over the transformer of as many layers. `state_bytes` after a
    text; `peak_bytes`: the most that torch held while it was read in pieces, without the weights; `memory_flat`: the largest over the
    smallest of `bmojo`. `train_step_over_*`: seconds of a step of `bmojo` over those of the other, see `sides.configs`.
    """
    place = torch.device(device)
    clock = clock_of(place)
    made = configs(config)
    models = {name: built(own, config.seed, place) for name, own in made.items()}
    random = torch.Generator().manual_seed(config.seed)

    def tokens(rows: int, length: int) -> torch.Tensor:
        return torch.randint(0, made[BMOJO].vocab_size, (rows, length), generator=random).to(place)

    texts = {length: tokens(1, length) for length in config.lengths}
    memory = _memory(models, texts, config, progress)
    readers = {
        (name, length): Reader(
            model=models[name],
            ids=ids,
            piece=config.piece if name == BMOJO else length,
            texts=max(1, config.read_tokens // length),
        )
        for name in (BMOJO, TRANSFORMER, EQUAL_LAYERS)
        for length, ids in texts.items()
        if length in config.lengths_of(name) and (name != EQUAL_LAYERS or length == LENGTH_ASKED)
    }
    batch = tokens(config.train_rows, config.train_tokens)
    learners = {name: Learner.of(model, batch) for name, model in models.items() if name != EQUAL_LAYERS}
    for reader in (readers[name, config.lengths[0]] for name in (BMOJO, TRANSFORMER)):
        reader()  # warms up
    progress("read", 0, config.rounds)
    read = in_turn(
        {str(key): partial(timed, reader, clock) for key, reader in readers.items()},
        config.rounds,
        lambda done: progress("read", done, config.rounds),
    )
    seconds = {key: [value / reader.texts for value in read[str(key)]] for key, reader in readers.items()}
    for learner in learners.values():
        learner()
    progress("train", 0, config.rounds)
    steps = in_turn(
        {name: partial(timed, learner, clock) for name, learner in learners.items()},
        config.rounds,
        lambda done: progress("train", done, config.rounds),
    )
    return {
        **length_figures(seconds, config.lengths),
        **memory,
        "memory_flat": round(max(memory["peak_bytes"][BMOJO].values()) / min(memory["peak_bytes"][BMOJO].values()), PLACES),
        **{f"train_step_over_{name}": paired(steps[BMOJO], own) for name, own in steps.items() if name != BMOJO},
        "train_step_s": {name: round(median(own), PLACES) for name, own in steps.items()},
        "asked": ASKED,
        "asked_at_most": AT_MOST,
        "models": {
            name: {
                "parameters": parameters(own),
                "layers": own.num_hidden_layers,
                "mlp": own.intermediate_size,
                "window": own.window,
            }
            for name, own in made.items()
        },
        "settings": {
            "shape": dict(config.shape),
            "piece": config.piece,
            "train_rows": config.train_rows,
            "train_tokens": config.train_tokens,
            "rounds": config.rounds,
            "device": device,
            "clock": clock.__name__,
        },
    }


def clock_of(device: torch.device) -> Callable[[], float]:
    """Of one thread on a CPU the processor's own time, in which other processes have no part; else the time that passes."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def length_figures(seconds: Mapping[tuple[str, int], Sequence[float]], lengths: Sequence[int]) -> dict[str, Any]:
    """Figures of the seconds that a text took, by side and length, in every round."""
    per_token = {key: [value / key[1] for value in own] for key, own in seconds.items()}
    growth = [paired(per_token[BMOJO, length], per_token[BMOJO, lengths[0]]) for length in lengths]
    read = {name: [length for length in lengths if (name, length) in seconds] for name in (BMOJO, TRANSFORMER)}
    over = {length: paired(seconds[TRANSFORMER, length], seconds[BMOJO, length]) for length in read[TRANSFORMER]}
    asked = {}
    if (EQUAL_LAYERS, LENGTH_ASKED) in seconds:
        equal_layers = paired(seconds[EQUAL_LAYERS, LENGTH_ASKED], seconds[BMOJO, LENGTH_ASKED])
        asked = {"over_transformer_8k": over[LENGTH_ASKED], "over_transformer_equal_layers_8k": equal_layers}
    return {
        "cost_flat": round(max(growth) / min(growth), PLACES),
        **asked,
        "over_transformer": {str(length): ratio for length, ratio in over.items()},
        "us_per_token": {
            name: {str(length): round(MICROSECONDS * median(per_token[name, length]), PLACES) for length in own}
            for name, own in read.items()
        },
    }


def _memory(
    models: Mapping[str, BMojoForCausalLM], texts: Mapping[int, torch.Tensor], config: BMojoBenchConfig, progress: Progress
) -> dict[str, dict[str, dict[str, int]]]:
    """`state_bytes` and `peak_bytes` by side and length; both sides read in pieces, so that only what is remembered differs."""
    found: dict[str, dict[str, dict[str, int]]] = {"state_bytes": {}, "peak_bytes": {}}
    sides = [(name, length) for name in (BMOJO, TRANSFORMER) for length in config.lengths_of(name)]
    progress("memory", 0, len(sides))
    for done, (name, length) in enumerate(sides, 1):
        reader, caches = Reader(model=models[name], ids=texts[length], piece=config.piece), list[BMojoCache]()
        kept_masks.cache_clear()  # else what a text before it has left would not be counted
        peak = peak_bytes(lambda: caches.append(reader()), texts[length].device)  # noqa: B023  # called here
        found["peak_bytes"].setdefault(name, {})[str(length)] = peak
        found["state_bytes"].setdefault(name, {})[str(length)] = sum(sum(layer.values()) for layer in caches[0].bytes_per_layer())
        progress("memory", done, len(sides))
    return found
