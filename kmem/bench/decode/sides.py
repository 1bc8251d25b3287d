"""Who generates: with nothing, with memories that lie in RAM, on a warm or on a cold disk, or with the same references' text."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.decode.config import Cell, DecodeConfig
from kmem.bench.decode.generated import Generated, timed_generate
from kmem.bench.decode.schedule import require_schedule
from kmem.bench.store.cold import forget, settle
from kmem.errors import MeasurementError
from kmem.kstore.bank import Bank, open_bank
from kmem.kstore.index.retriever import Retriever
from kmem.paths import ZARR
from kmem.runtime.attach import attach
from kmem.runtime.session import Session

WARM_UP = "warm"


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A cell with all that any side needs: prompts are [B] lists of token ids, as long as each other.

    seen: the tokens [B, n] that reading memories has led to in the latest run; empty before the first.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    bank: Path
    embedder: Retriever
    prompts: list[list[int]]
    cell: Cell
    config: DecodeConfig
    seen: list[torch.Tensor] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What one side did, and the counters of its session where it read memories."""

    generated: Generated
    stats: Mapping[str, Any] = field(default_factory=dict)


def generate_alone(task: Task) -> Run:
    """With nothing."""
    ids = torch.tensor(task.prompts, device=task.model.device)
    return Run(generated=timed_generate(task.model, ids, torch.ones_like(ids), task.cell.new_tokens, began=time.perf_counter()))


def generate_from_texts(task: Task) -> Run:
    """With the texts of the references that one search with the prompt finds before it, the best last; the search is timed, too."""
    tokenizer = task.tokenizer
    with opened(task) as bank:
        began = time.perf_counter()
        found = bank.search_many([tokenizer.decode(prompt, skip_special_tokens=True) for prompt in task.prompts], task.config.top_k)
        rows = []
        for prompt, hits in zip(task.prompts, found, strict=True):
            references = "".join(f"Reference: {chunk.reference}\n" for chunk in bank.chunks([hit.id for hit in reversed(hits)]))
            rows.append([*tokenizer(references)["input_ids"], *prompt])
        longest = max(map(len, rows))
        pad = tokenizer.pad_token_id or 0
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=task.model.device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=task.model.device)
        return Run(generated=timed_generate(task.model, ids, mask, task.cell.new_tokens, began=began))


def generate_from_memories(task: Task, *, prepare: Callable[[Task, Session], None]) -> Run:
    """With the bank attached afresh, brought into its state by `prepare`; opening and attaching are not timed.

    Raises MeasurementError unless it read what the schedule says.
    """
    with opened(task) as bank, reading(task, bank) as session:
        prepare(task, session)
        before = session.counted()
        ids = torch.tensor(task.prompts, device=task.model.device)
        generated = timed_generate(task.model, ids, torch.ones_like(ids), task.cell.new_tokens, began=time.perf_counter())
        counted = session.counted().since(before)
        require_schedule(session.schedule, task.prompts, task.cell.new_tokens, task.config, counted.retrievals)
        task.seen[:] = [generated.tokens]
        return Run(generated=generated, stats=counted.to_dict())


def reading(task: Task, bank: Bank) -> Any:
    """The one place where a benchmark attaches: its tiers start empty."""
    return attach(task.model, bank, tokenizer=task.tokenizer, top_k=task.config.top_k, every=task.config.every)


@contextmanager
def opened(task: Task) -> Iterator[Bank]:
    """The bank open with its index and embedder loaded, so that a search costs what it costs later, too."""
    with open_bank(task.bank, embedder=task.embedder) as bank:
        bank.search(WARM_UP, task.config.top_k)
        yield bank


def in_ram(task: Task, session: Session) -> None:
    """Read what the run will read: one forward pass over the tokens of an earlier run has the same spans, and so the same queries."""
    for tokens in task.seen:
        with torch.inference_mode():
            task.model.get_decoder()(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)


def on_warm_disk(task: Task, session: Session) -> None:
    """Have the system hold every file in its page cache."""
    for path in record_files(task.bank):
        path.read_bytes()


def on_cold_disk(task: Task, session: Session) -> None:
    """Have the system forget the files. Raises MeasurementError where it doesn't."""
    files = record_files(task.bank)
    settle(files)
    if not forget(files):
        raise MeasurementError(f"The page cache keeps {task.bank}, so nothing can be read cold from there; give a bank on a real disk.")


def record_files(bank: Path) -> list[Path]:
    """The files that memories are read from."""
    return [path for path in sorted((bank / ZARR).rglob("*")) if path.is_file()]


SIDES: Mapping[str, Callable[[Task], Run]] = {
    "none": generate_alone,
    "memory_ram": partial(generate_from_memories, prepare=in_ram),
    "memory_disk": partial(generate_from_memories, prepare=on_warm_disk),
    "memory_cold": partial(generate_from_memories, prepare=on_cold_disk),
    "text": generate_from_texts,
}


def sides_of(config: DecodeConfig) -> tuple[str, ...]:
    """Names in SIDES that are measured: reading cold takes `full`."""
    return tuple(name for name in SIDES if config.full or name != "memory_cold")
