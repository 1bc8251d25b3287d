"""What lies between a bank and the model: RAM and read-ahead change how long a tick takes, and nothing else."""

import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import kmem
from kmem.errors import ConfigError, CorruptBankError, WrongTypeError
from kmem.kstore.bank import Bank, open_bank
from kmem.kstore.shard import CRC_BYTES
from kmem.runtime.ahead import PIECE, ReadAhead
from kmem.runtime.pool import Pool
from kmem.runtime.ram import RamTier
from kmem.runtime.records import Records
from kmem.runtime.schedule import Span
from kmem.runtime.source import BankSource
from kmem.runtime.stats import Stats
from tests.kstore.kit import damaged
from tests.tiny import HashEmbedder

PROMPT = "Which animal jumps over the lazy dog in the well-known sentence?"
RECORD = (2, 3)
TIERS = {"neither": (0, 0), "RAM": (1 << 20, 0), "RAM for two": (8300, 0), "RAM for two, ahead": (8300, 6), "RAM, ahead": (1 << 20, 6)}


def tier(records: int, most: int = 100) -> RamTier:
    return RamTier(RECORD, np.dtype("u2"), budget_bytes=records * 12 + 5, most=most)


def records(*ids: int) -> NDArray[Any]:
    return np.stack([np.full(RECORD, memory_id, dtype=np.uint16) for memory_id in ids])


def generate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompt: str = PROMPT, tokens: int = 40) -> torch.Tensor:
    output: torch.Tensor = model.generate(
        **tokenizer(prompt, return_tensors="pt"), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False
    )
    return output


def ahead_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "kmem-ahead"]


def settled(stats: Callable[[], dict[str, float | int]], ahead: int) -> None:
    """Wait until so many memories were read ahead."""
    for _ in range(2000):
        if stats()["ahead_read"] >= ahead:
            return
        threading.Event().wait(0.005)
    pytest.fail(f"{stats()['ahead_read']} memories were read ahead, not {ahead}")


# ---------------------------------------------------------------------- the RAM tier


def test_the_least_recently_used_record_goes_first() -> None:
    ram = tier(3)
    assert ram.capacity == 3
    ram.keep([1, 2, 3], records(1, 2, 3))
    out = np.zeros((3, *RECORD), dtype=np.uint16)
    assert ram.take([1, 9], out, range(2)) == ([1], 0)
    ram.keep([4], records(4))
    assert ram.lacking([1, 2, 3, 4]) == [2]
    ram.keep([5], records(5))
    assert ram.lacking([1, 2, 3, 4, 5]) == [2, 3]
    assert ram.take([5, 1, 4], out, range(3)) == ([], 0)
    assert np.array_equal(out, records(5, 1, 4))
    assert len(ram) == 3


def test_what_comes_at_once_and_does_not_fit_leaves_its_end() -> None:
    ram = tier(2)
    ram.keep([1, 2, 3, 4, 5], records(1, 2, 3, 4, 5))
    out = np.zeros((2, *RECORD), dtype=np.uint16)
    assert ram.take([4, 5], out, range(2)) == ([], 0)
    assert np.array_equal(out, records(4, 5))
    assert ram.lacking([1, 2, 3]) == [1, 2, 3]


def test_a_record_larger_than_the_budget_passes_through() -> None:
    ram = RamTier(RECORD, np.dtype("u2"), budget_bytes=11, most=5)
    ram.keep([1], records(1))
    assert (ram.capacity, len(ram), ram.lacking([1])) == (0, 0, [1])


def test_no_more_is_set_aside_than_there_are_memories() -> None:
    assert tier(1_000_000, most=7).capacity == 7


def test_a_record_read_ahead_counts_as_used_once() -> None:
    ram, out = tier(3), np.zeros((2, *RECORD), dtype=np.uint16)
    ram.keep([1, 2, 3], records(1, 2, 3), used=False)
    assert ram.take([1, 2], out, range(2)) == ([], 2)
    assert ram.take([1, 2], out, range(2)) == ([], 0)
    ram.clear()
    assert ram.take([1, 2], out, range(2)) == ([0, 1], 0)


def test_threads_share_a_tier() -> None:
    """What is taken is what was kept under that id, while others push it out."""
    ram = tier(8)
    wrong: list[int] = []

    def work(seed: int) -> None:
        chosen = np.random.default_rng(seed)
        out = np.zeros((4, *RECORD), dtype=np.uint16)
        for _ in range(300):
            ids = chosen.choice(30, size=4, replace=False).tolist()
            missing, _ = ram.take(ids, out, range(4))
            wrong.extend(place for place in range(4) if place not in missing and not (out[place] == ids[place]).all())
            ram.keep([ids[place] for place in missing], records(*ids)[missing])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, len(ram)) == ([], 8)


# ---------------------------------------------------------------------- the same answers


@pytest.mark.parametrize("tiers", TIERS)
def test_no_answer_depends_on_the_tiers(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tiers: str) -> None:
    ram_bytes, ahead = TIERS[tiers]
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8, device_bytes=0, ram_bytes=0, ahead=0) as memory:
            plain, plain_logits = generate(model, tokenizer), model(ids).logits
            spans = memory.schedule
        with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8, device_bytes=0, ram_bytes=ram_bytes, ahead=ahead) as memory:
            assert torch.equal(generate(model, tokenizer), plain)
            assert torch.equal(model(ids).logits, plain_logits)
            assert memory.schedule == spans
            stats = memory.stats()
    assert (stats["ram_hits"] > 0) == (ram_bytes > 0)
    assert ahead or stats["ahead_read"] == 0


def test_two_sessions_read_one_bank(bank: Bank, tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel) -> None:
    other = type(model)(model.config).eval()
    other.load_state_dict(model.state_dict())
    prompts = (PROMPT, "How many lines has a sonnet?")
    answers: dict[int, torch.Tensor] = {}

    def run(index: int, which: PreTrainedModel) -> None:
        with kmem.attach(which, bank, tokenizer=tokenizer, top_k=2, every=8, device_bytes=0, ram_bytes=8300, ahead=3):
            answers[index] = generate(which, tokenizer, prompts[index])

    threads = [threading.Thread(target=run, args=(index, which)) for index, which in enumerate((model, other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, prompt in enumerate(prompts):
        with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8, device_bytes=0, ram_bytes=0):
            assert torch.equal(answers[index], generate(model, tokenizer, prompt))
    assert not ahead_threads()


# ---------------------------------------------------------------------- read-ahead


def test_the_next_nearest_are_read_ahead_and_used(bank: Bank, tokenizer: PreTrainedTokenizerFast) -> None:
    source, stats = BankSource(bank, tokenizer, 3, ram_bytes=1 << 20, ahead=5), Stats()
    query = tokenizer(PROMPT)["input_ids"]
    (ids,) = source.retrieve([query], stats)
    source.read(ids, stats)
    source.read_ahead(stats)
    settled(stats.to_dict, 5)
    ranked = [hit.id for hit in bank.search(tokenizer.decode(query), k=8)]
    assert ids == tuple(ranked[:3])
    again = source.read(ranked[4:8], stats)
    assert torch.equal(bank.quantiser.decode(again.stored.numpy()), bank.read(ranked[4:8]).kv)
    assert torch.equal(again.filled, bank.read(ranked[4:8]).filled)
    assert (stats.ram_hits, stats.ram_misses, stats.ahead_read, stats.ahead_used) == (4, 3, 5, 4)
    assert stats.read_bytes == 3 * bank.record_bytes
    source.close()
    assert not ahead_threads()


def test_a_tick_waits_for_what_is_being_read_and_for_nothing_else(bank: Bank) -> None:
    ram = RamTier(bank.record_shape, bank.record_dtype, budget_bytes=1 << 20, most=len(bank))
    entered, go_on = threading.Event(), threading.Event()
    slow = _Slow(bank, entered, go_on)
    ahead = ReadAhead(slow, ram, near=1, ahead=2)  # type: ignore[arg-type]
    vectors = bank.queries([PROMPT])
    ahead.begin(vectors, Stats())
    assert entered.wait(10)
    first, second, *others = bank.nearest(vectors, 12)[1][0].tolist()
    assert len(ram) == 0
    ahead.wait_for(others)  # at once: these are not being read
    waited = threading.Thread(target=ahead.wait_for, args=([others[0], second],))
    waited.start()
    waited.join(0.05)
    assert waited.is_alive()
    go_on.set()
    waited.join(10)
    assert not waited.is_alive()
    assert ram.lacking([first, second, *others]) == others
    ahead.close()


def test_a_newer_tick_ends_what_was_read_for_an_older_one(bank: Bank) -> None:
    ram = RamTier(bank.record_shape, bank.record_dtype, budget_bytes=1 << 20, most=len(bank))
    entered, go_on = threading.Event(), threading.Event()
    slow = _Slow(bank, entered, go_on)
    ahead, stats = ReadAhead(slow, ram, near=1, ahead=3 * PIECE), Stats()  # type: ignore[arg-type]
    ahead.begin(bank.queries([PROMPT]), stats)
    assert entered.wait(10)
    ahead.stop()
    go_on.set()
    ahead.close()
    assert (stats.ahead_read, len(ram)) == (PIECE, PIECE)


class _Slow:
    """A bank that says when it is asked for records, and gives them when the test says so."""

    def __init__(self, bank: Bank, entered: threading.Event, go_on: threading.Event) -> None:
        self.nearest, self.lengths, self.record_shape, self.record_dtype = bank.nearest, bank.lengths, bank.record_shape, bank.record_dtype
        self._bank, self._entered, self._go_on = bank, entered, go_on

    def read_into(self, ids: list[int], out: NDArray[Any]) -> None:
        self._entered.set()
        assert self._go_on.wait(10)
        self._bank.read_into(ids, out)


def test_the_thread_ends_with_the_block(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    attachment = kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8, ahead=4)
    assert not ahead_threads()
    for _ in range(2):
        with attachment as memory:
            generate(model, tokenizer)
            settled(memory.stats, 1)
            assert len(ahead_threads()) == 1
        assert not ahead_threads()
    with pytest.raises(ZeroDivisionError), attachment:
        raise ZeroDivisionError(len(generate(model, tokenizer)))
    assert not ahead_threads()


def test_a_damaged_record_is_reported_by_the_tick_that_wants_it(
    bank_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Read-ahead meets it first and says nothing; the answers until then are right."""
    query = tokenizer(PROMPT)["input_ids"]
    with open_bank(bank_path, embedder=HashEmbedder()) as bank:
        *_, bad = (hit.id for hit in bank.search(PROMPT, k=4))
        shard, row = divmod(bank.all_ids.tolist().index(bad), 5)
        file = bank_path / bank.manifest.generations[0].shards[shard].kv.file
        data = bytearray(file.read_bytes())
        data[row * (bank.record_bytes + CRC_BYTES) + 9] ^= 4
    with damaged(file, bytes(data)), open_bank(bank_path, embedder=HashEmbedder()) as bank:
        source, stats = BankSource(bank, tokenizer, 3, ram_bytes=1 << 20, ahead=9), Stats()
        (ids,) = source.retrieve([query], stats)
        source.read(ids, stats)
        source.read_ahead(stats)
        settled(stats.to_dict, 9 - PIECE)
        source.read(ids, stats)
        with pytest.raises(CorruptBankError, match=f"row {row} has crc32c"):
            source.read([bad], stats)
        source.close()


def test_a_bank_closed_meanwhile_is_reported_at_the_tick(bank: Bank, tokenizer: PreTrainedTokenizerFast) -> None:
    source, stats = BankSource(bank, tokenizer, 3, ram_bytes=1 << 20, ahead=4), Stats()
    source.retrieve([tokenizer(PROMPT)["input_ids"]], stats)
    bank.close()
    source.read_ahead(stats)
    with pytest.raises(ConfigError, match="was closed"):
        source.read([1], stats)
    source.close()
    assert not ahead_threads()


# ---------------------------------------------------------------------- the device


def test_neighbouring_chunks_share_what_both_read(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Within a prompt each memory is read once; from one tick to the next only what is new is, though nothing else stays."""
    first, second, third, fourth = bank.ids[:4].tolist()
    wanted = [(first, second), (second, third), (third, fourth), (third, second)]
    bounds = [(0, 8), (8, 16), (16, 24), (24, 32)]
    schedule = [Span(row=0, start=start, stop=stop, ids=ids) for (start, stop), ids in zip(bounds, wanted, strict=True)]
    tokens = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    with (
        torch.inference_mode(),
        kmem.attach(model, bank, tokenizer=tokenizer, schedule=schedule, device_bytes=0, ram_bytes=0, ahead=0) as memory,
    ):
        cache = model(tokens[:, :16]).past_key_values
        stats = memory.stats()
        assert (stats["device_misses"], stats["device_hits"], stats["memories_read"]) == (3, 0, 3)
        for column in range(16, 32):
            model(tokens[:, column : column + 1], past_key_values=cache)
        stats = memory.stats()
    assert (stats["device_misses"], stats["device_hits"], stats["memories_read"]) == (3 + 1 + 1, 0 + 1 + 1, 5)


@pytest.mark.parametrize("room", [0, 3, 7])
def test_no_tier_passes_its_budget(
    bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """After every load: the device holds the budget or what is read now, RAM the budget, whatever is read ahead."""
    budget_bytes = room * bank.record_bytes
    assert bank.record_dtype.itemsize == model.dtype.itemsize  # a row on the device has a record's bytes
    pools: list[Pool] = []
    tiers: list[RamTier] = []
    hold, keep = Pool.hold, RamTier.keep

    def held(self: Pool, ids: list[int], loaded: Records | None) -> None:
        hold(self, ids, loaded)
        pools.append(self)
        most = max(room, len(ids))
        assert len(self) <= most
        assert self.layer(0).slots.decoded()[0].untyped_storage().nbytes() <= most * bank.record_bytes

    def kept(self: RamTier, ids: list[int], records: NDArray[Any], *, used: bool = True) -> None:
        keep(self, ids, records, used=used)
        tiers.append(self)
        assert len(self) * records[0].nbytes <= budget_bytes
        assert self._arena is None or self._arena.nbytes <= budget_bytes

    monkeypatch.setattr(Pool, "hold", held)
    monkeypatch.setattr(RamTier, "keep", kept)
    options = {"top_k": 3, "every": 8, "device_bytes": budget_bytes, "ram_bytes": budget_bytes, "ahead": 6}
    with kmem.attach(model, bank, tokenizer=tokenizer, **options) as memory:  # type: ignore[arg-type]
        generate(model, tokenizer)
        stats = memory.stats()
    assert pools
    assert tiers
    assert stats["device_misses"] > 12  # more than there are memories: some went and came again


# ---------------------------------------------------------------------- counters and options


def test_counters_add_up(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    with kmem.attach(model, bank, tokenizer=tokenizer, top_k=3, every=16) as memory:
        generate(model, tokenizer)
        stats = memory.stats()
    assert set(stats) == {field.name for field in fields(Stats)} | {"stall_per_tick_s", "ram_hit_rate", "device_hit_rate"}
    assert all(type(value) in (int, float) for value in stats.values())
    assert (stats["ticks"], stats["retrievals"]) == (1 + 2, len(PROMPT) // 16 + 2)  # 40 generated tokens have two ticks
    assert stats["ram_hits"] + stats["ram_misses"] == stats["device_misses"]
    assert stats["memories_read"] == stats["ram_misses"]
    assert stats["read_bytes"] == stats["memories_read"] * bank.record_bytes
    assert 0 < stats["embed_s"] + stats["search_s"] <= stats["retrieve_s"]
    parts = stats["retrieve_s"] + stats["read_s"] + stats["decode_s"] + stats["copy_s"]
    assert 0 < parts <= stats["stall_s"]
    assert stats["stall_per_tick_s"] == stats["stall_s"] / stats["ticks"]
    assert stats["ahead_used"] <= stats["ahead_read"]


def test_budgets_are_checked(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match="ram_bytes must be at least 0, not -1"):
        kmem.attach(model, bank, tokenizer=tokenizer, ram_bytes=-1)
    with pytest.raises(ConfigError, match="ahead must be at least 0, not -3"):
        kmem.attach(model, bank, tokenizer=tokenizer, ahead=-3)
    for value in ("1 GiB", 0.5, None, True):
        with pytest.raises(WrongTypeError, match="ram_bytes must be a whole number"):
            kmem.attach(model, bank, tokenizer=tokenizer, ram_bytes=value)  # type: ignore[arg-type]
        with pytest.raises(WrongTypeError, match="ahead must be a whole number"):
            kmem.attach(model, bank, tokenizer=tokenizer, ahead=value)  # type: ignore[arg-type]
