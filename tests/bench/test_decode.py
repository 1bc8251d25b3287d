"""The benchmark of decoding on a tiny model and a real bank: real runs, pairs within a round, no figure about a wrong schedule."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
import torch
from transformers import PreTrainedModel

from kmem.bench.decode import sides
from kmem.bench.decode.config import Cell, DecodeConfig
from kmem.bench.decode.generated import Generated, timed_generate
from kmem.bench.decode.measure import ASKED, headline, measure_decode
from kmem.bench.decode.picture import draw_speeds
from kmem.bench.decode.prepared import make_prompts
from kmem.bench.decode.schedule import require_schedule, retrievals, ticks
from kmem.bench.decode.sides import SIDES, Task
from kmem.bench.pairs import in_turn, paired
from kmem.errors import ConfigError, MeasurementError
from kmem.kstore.bank import open_bank
from kmem.runtime.schedule import Span
from kmem.runtime.session import Session
from tests.tiny import HashEmbedder, byte_tokenizer, tiny_model, write_tiny_bank

TEXTS = [f"Text {number} says that {number} times {number} is {number * number}." for number in range(12)]
TINY = DecodeConfig(rounds=2, batches=(1, 2), new_tokens=(6,), prompt_tokens=8, every=4, top_k=3)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return tiny_model()


@pytest.fixture(scope="module")
def bank(model: PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bank(tmp_path_factory.mktemp("decode") / "bank", model, byte_tokenizer(), TEXTS)


@pytest.fixture
def task(model: PreTrainedModel, bank: Path) -> Task:
    with open_bank(bank, embedder=HashEmbedder()) as held:
        prompts = make_prompts(held, byte_tokenizer(), 2, TINY)
    cell = Cell(batch=2, new_tokens=6)
    return Task(model=model, tokenizer=byte_tokenizer(), bank=bank, embedder=HashEmbedder(), prompts=prompts, cell=cell, config=TINY)


def test_every_figure_is_there(model: PreTrainedModel, bank: Path, tmp_path: Path) -> None:
    stages: list[tuple[str, int]] = []
    figures = measure_decode(
        model,
        byte_tokenizer(),
        bank,
        replace(TINY, rounds=3),
        embedder=HashEmbedder(),
        progress=lambda stage, done, total: stages.append((stage, done)),
    )
    cells = figures["cells"]
    assert list(cells) == ["batch1_out6", "batch2_out6"]
    for cell in cells.values():
        assert cell["retrievals_per_row"] == 3
        assert set(cell["sides"]) == {"none", "memory_ram", "memory_disk", "text"}
        assert all(side["device_bytes"] is None for side in cell["sides"].values())  # nobody counts a CPU's
        ours, none = (cell["sides"][name] for name in ("memory_disk", "none"))
        pairs = [one / other for one, other in zip(none["seconds"], ours["seconds"], strict=True)]
        assert cell["memory_over_none"]["memory_disk"] == pytest.approx(median(pairs), rel=0.1)  # seconds are rounded
        assert ours["tokens_per_s"] == pytest.approx(cell["batch"] * 6 / median(ours["seconds"]), rel=0.1)
        assert ours["stats"]["retrievals"] == 3 * cell["batch"]
        assert ours["stall_ms_per_tick"] is not None
        assert 0 < ours["first_token_s"] < max(ours["seconds"])
    assert figures["settings"]["memories"] == 12
    assert stages == [(name, done) for name in cells for done in range(4)]
    json.dumps(figures, allow_nan=False)
    draw_speeds(figures, tmp_path / "speeds.png")
    assert (tmp_path / "speeds.png").read_bytes().startswith(b"\x89PNG")


def test_the_schedule_is_the_papers() -> None:
    """Memory³ §7.5: 2·128/64 − 1 = 3 retrievals for 128 in and 128 out."""
    assert retrievals(128, 128, 64) == 3
    assert [retrievals(128, new, 64) for new in (2, 32, 65, 66, 512)] == [2, 2, 2, 3, 9]
    assert ticks(128, 64) == [65]
    assert len(ticks(512, 64)) == 7


def test_runs_that_read_something_else_are_refused(task: Task) -> None:
    run = SIDES["memory_disk"](task)
    assert run.stats["retrievals"] == 6
    spans = [
        Span(row=row, start=start, stop=stop, ids=ids)
        for row in range(2)
        for start, stop, ids in ((0, 4, (1, 2, 3)), (4, 8, (4, 5, 6)), (8, 12, (4, 5, 6)), (12, 13, (7, 8, 9)))
    ]
    require_schedule(spans, task.prompts, 6, TINY, 6)
    with pytest.raises(MeasurementError, match="5 searches were made where the schedule has 6"):
        require_schedule(spans, task.prompts, 6, TINY, 5)
    with pytest.raises(MeasurementError, match="Row 1 read in spans"):
        require_schedule(spans[:-1], task.prompts, 6, TINY, 6)
    with pytest.raises(MeasurementError, match="Row 0 read 2 memories at token 12, not 3"):
        require_schedule([*spans[:3], replace(spans[3], ids=(7, 8)), *spans[4:]], task.prompts, 6, TINY, 6)
    with pytest.raises(MeasurementError, match="Row 0 did not inherit"):
        require_schedule([*spans[:2], replace(spans[2], ids=(7, 8, 9)), *spans[3:]], task.prompts, 6, TINY, 6)


def test_ram_is_filled_with_what_the_run_reads(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass over an earlier run's tokens asks what the run asks, so all its memories were read before the clock started."""
    earlier = SIDES["memory_disk"](task)
    (tokens,) = task.seen
    assert torch.equal(tokens, earlier.generated.tokens)
    asked: list[set[int]] = []
    original = sides.in_ram

    def noting(task: Task, session: Session) -> None:
        original(task, session)
        asked.append({memory_id for span in session.schedule for memory_id in span.ids})

    run = sides.generate_from_memories(task, prepare=noting)
    assert torch.equal(run.generated.tokens, tokens)
    with open_bank(task.bank, embedder=HashEmbedder()) as bank, sides.reading(task, bank) as session:
        timed_generate(task.model, torch.tensor(task.prompts), torch.ones(2, 8, dtype=torch.long), 6, began=0.0)
        assert {memory_id for span in session.schedule for memory_id in span.ids} <= asked[0]


def test_a_cold_disk_is_read_or_refused(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder in memory has none."""
    assert sides.sides_of(replace(TINY, full=True)) == tuple(SIDES)
    with suppress(MeasurementError):
        assert SIDES["memory_cold"](task).stats["retrievals"] == 6
    monkeypatch.setattr(sides, "forget", lambda files: False)
    with pytest.raises(MeasurementError, match=r"The page cache keeps .*bank"):
        SIDES["memory_cold"](task)


def test_the_text_holds_the_same_references(task: Task) -> None:
    prompt = task.prompts[0]
    tokens = SIDES["text"](task).generated.tokens
    tokenizer = byte_tokenizer()
    with open_bank(task.bank, embedder=HashEmbedder()) as bank:
        hits = bank.search(tokenizer.decode(prompt), TINY.top_k)
    given = tokenizer.decode(tokens[0, :-6], skip_special_tokens=True)
    assert given == "".join(f"Reference: {hit.text}\n" for hit in reversed(hits)) + tokenizer.decode(prompt)


def test_sides_take_turns_at_being_first() -> None:
    order: list[str] = []
    found = in_turn({name: lambda name=name: order.append(name) or len(order) for name in "abc"}, 4)  # type: ignore[misc, func-returns-value]
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert found["a"] == [1, 6, 8, 10]


def test_ratios_are_of_pairs() -> None:
    """A slow minute slows both sides of a round, and does not move the ratio."""
    assert paired([2.0, 20.0, 4.0], [1.0, 10.0, 2.0]) == 2.0
    generated = Generated(tokens=torch.zeros(1, 1), seconds=9.0, arrived=(1.0, 2.0, 3.0, 6.0, 7.0))
    assert (generated.first_s, generated.decode_s) == (1.0, 8.0)
    assert generated.stalls([3]) == [2.0]


def test_the_figures_asked_for_are_of_one_row_and_a_warm_disk() -> None:
    figures = {key: {"memory_disk": value} for value, key in enumerate(("memory_over_none", "ttft_text_over_memory", "memory_over_text"))}
    found = headline({"batch1_out128": figures, "batch1_out32": {"memory_over_text": {"memory_disk": 7}}, "batch8_out128": {}})
    assert found == {"memory_over_none": 0, "ttft_text_over_memory": 1, "memory_over_text": 2, "memory_over_text_32": 7}
    assert set(found) == set(ASKED)
    assert headline({}) == {}
    assert DecodeConfig().rounds >= 7
    assert DecodeConfig(rounds=1, batches=(8,), full=True).is_papers
    assert not any(other.is_papers for other in (DecodeConfig(prompt_tokens=3), DecodeConfig(top_k=3), DecodeConfig(every=3)))


def test_cells() -> None:
    assert [cell.name for cell in DecodeConfig().cells] == ["batch1_out32", "batch1_out128"]
    assert [cell.name for cell in DecodeConfig(full=True).cells][2:] == ["batch1_out512", "batch8_out32", "batch8_out128", "batch8_out512"]
    assert [cell.name for cell in DecodeConfig(batches=(32,)).cells] == ["batch32_out128"]


def test_bad_input(bank: Path) -> None:
    with pytest.raises(ConfigError, match="rounds must be at least 1, not 0"):
        DecodeConfig(rounds=0)
    with pytest.raises(ConfigError, match="new_tokens must be at least 2"):
        DecodeConfig(new_tokens=(1,))
    with open_bank(bank, embedder=HashEmbedder()) as held:
        with pytest.raises(ConfigError, match="fewer memories than the 13"):
            make_prompts(held, byte_tokenizer(), 1, DecodeConfig(top_k=13))
        with pytest.raises(ConfigError, match="too little text for a prompt of 5000 tokens"):
            make_prompts(held, byte_tokenizer(), 1, DecodeConfig(prompt_tokens=5000))
