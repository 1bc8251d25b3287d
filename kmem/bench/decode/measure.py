"""The whole benchmark of decoding: every side in every round, in rotated order, and the medians of their pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.decode.config import NEW_TOKENS, SHORT, Cell, DecodeConfig
from kmem.bench.decode.prepared import make_prompts
from kmem.bench.decode.schedule import retrievals, ticks
from kmem.bench.decode.sides import SIDES, Run, Task, sides_of
from kmem.bench.pairs import in_turn, paired
from kmem.encoder.fingerprint import display_name
from kmem.kstore.bank import open_bank
from kmem.kstore.index.retriever import Retriever
from kmem.kstore.index.retrievers import recorded_retriever
from kmem.progress import Progress, silent

WARM_UP_TOKENS = 2
ASKED = {"memory_over_none": 0.95, "ttft_text_over_memory": 4.0, "memory_over_text": 1.15, "memory_over_text_32": 1.5}
"""What issue 5 asks at least, of batch 1 and a warm disk."""
MILLISECONDS = 1e3
PLACES = 4


def measure_decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    bank: Path,
    config: DecodeConfig,
    *,
    embedder: Retriever | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """`cells`, each with its sides' medians and the medians of their ratios within a round; `settings`; for the paper's prompts, memories
    and ticks also the figures of ASKED.

    Raises MeasurementError when a run did not read or write what it should have, and what opening and attaching the bank raise.
    """
    with open_bank(bank, embedder=embedder) as held:
        searched = embedder or recorded_retriever(held.manifest.index.embedder)
        rows = max(cell.batch for cell in config.cells)
        prompts = make_prompts(held, tokenizer, rows, config)
        about = {
            "memories": len(held),
            "mean_reference_tokens": round(float(held.lengths(held.ids.tolist()).mean()), 1),
            "profile": held.profile.name,
            "quantiser": held.manifest.quantiser,
            "record_bytes": held.record_bytes,
        }
    searched.embed(["warm"])
    cells = {}
    for cell in config.cells:
        task = Task(
            model=model,
            tokenizer=tokenizer,
            bank=bank,
            embedder=searched,
            prompts=prompts[: cell.batch],
            cell=cell,
            config=config,
        )
        cells[cell.name] = cell_figures(task, _measure(task, progress))
    return {
        **(headline(cells) if config.is_papers else {}),
        "asked": ASKED,
        "cells": cells,
        "settings": {
            "model": display_name(model),
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            **about,
            "prompt_tokens": config.prompt_tokens,
            "top_k": config.top_k,
            "every": config.every,
            "rounds": config.rounds,
        },
    }


def _measure(task: Task, progress: Progress) -> dict[str, list[Run]]:
    names = sides_of(task.config)
    stage = task.cell.name
    progress(stage, 0, task.config.rounds)
    short = replace(task, cell=Cell(batch=task.cell.batch, new_tokens=WARM_UP_TOKENS))
    for name in names:
        SIDES[name](short)
    SIDES["memory_disk"](task)  # what it generates is what memory_ram reads ahead
    sides = {name: partial(SIDES[name], task) for name in names}
    return in_turn(sides, task.config.rounds, lambda done: progress(stage, done, task.config.rounds))


def cell_figures(task: Task, runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """A cell's part of the result. `none_over_text`, `ttft_text_over_none`: what memories that cost nothing would have over the text.
    A side's `device_bytes` is the most memory that it took on a GPU, None on a CPU.
    """
    new, batch = task.cell.new_tokens, task.cell.batch
    at = ticks(new, task.config.every)
    seconds = {name: [run.generated.seconds for run in own] for name, own in runs.items()}
    decode = {name: [run.generated.decode_s for run in own] for name, own in runs.items()}
    first = {name: [run.generated.first_s for run in own] for name, own in runs.items()}
    sides: dict[str, dict[str, Any]] = {}
    for name, own in runs.items():
        sides[name] = {
            "tokens_per_s": round(batch * new / median(seconds[name]), PLACES),
            "decode_tokens_per_s": round(batch * (new - 1) / median(decode[name]), PLACES),
            "first_token_s": round(median(first[name]), PLACES),
            "seconds": [round(value, PLACES) for value in seconds[name]],
            "device_bytes": max(run.generated.device_bytes or 0 for run in own) or None,
        }
        if name.startswith("memory"):
            stalls = [stall for run in own for stall in run.generated.stalls(at)]
            sides[name]["stall_ms_per_tick"] = round(MILLISECONDS * median(stalls), PLACES) if stalls else None
            sides[name]["stats"] = dict(own[-1].stats)
    memories = [name for name in runs if name.startswith("memory")]
    return {
        "batch": batch,
        "new_tokens": new,
        "retrievals_per_row": retrievals(task.config.prompt_tokens, new, task.config.every),
        "memory_over_none": {name: paired(seconds["none"], seconds[name]) for name in memories},
        "decode_memory_over_none": {name: paired(decode["none"], decode[name]) for name in memories},
        "memory_over_text": {name: paired(seconds["text"], seconds[name]) for name in memories},
        "ttft_text_over_memory": {name: paired(first["text"], first[name]) for name in memories},
        "none_over_text": paired(seconds["text"], seconds["none"]),
        "ttft_text_over_none": paired(first["text"], first["none"]),
        "sides": sides,
    }


def headline(cells: Mapping[str, Any]) -> dict[str, float]:
    """The figures of ASKED, those whose cell was measured."""
    usual, short = (cells.get(Cell(batch=1, new_tokens=new).name) for new in (NEW_TOKENS, SHORT))
    at_usual = ("memory_over_none", "ttft_text_over_memory", "memory_over_text")
    found = {} if usual is None else {key: usual[key]["memory_disk"] for key in at_usual}
    return found if short is None else {**found, "memory_over_text_32": short["memory_over_text"]["memory_disk"]}
