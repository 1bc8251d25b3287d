"""A bank built without encoding answers as the one that was encoded does, keeps what it encodes, and loses nothing when it is killed."""

import os
import shutil
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import kmem
from kmem.encoder.encode import Encoder, EncoderConfig
from kmem.errors import CorruptBankError, IdentityMismatchError, NotStoredWarning
from kmem.kstore.bank import open_bank
from kmem.kstore.life import compact
from kmem.kstore.verify import verify
from kmem.runtime.ahead import PIECE
from kmem.runtime.cold import ColdSource
from kmem.runtime.schedule import Span
from kmem.runtime.source import BankSource
from kmem.runtime.stats import Stats
from tests.faults import child, disk, files_limited_to, run_for, seconds_of
from tests.runtime.conftest import TEXTS
from tests.tiny import HashEmbedder, tiny_model, write_tiny_bank

PROMPT = "Which animal jumps over the lazy dog in the well-known sentence?"
Answer = tuple[list[int], list[Span]]


@pytest.fixture(params=["int8", "fp32"])
def quantiser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cold(tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    return write_tiny_bank(tmp_path / "cold", model, tokenizer, TEXTS, encode=False)


@pytest.fixture
def encodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many references each call of the encoder is given."""
    counted: list[int] = []
    real = Encoder.encode_tokens

    def counting(self: Encoder, references: list[list[int]], *arguments: object, **more: object) -> object:
        counted.append(len(references))
        return real(self, references, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Encoder, "encode_tokens", counting)
    return counted


def answer(path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompt: str = PROMPT) -> Answer:
    """Tokens and what they read."""
    with open_bank(path, HashEmbedder()) as bank, kmem.attach(model, bank, tokenizer=tokenizer, top_k=3, every=16) as memory:
        inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
        output = model.generate(**inputs, max_new_tokens=20, min_new_tokens=20, do_sample=False)
        assert all(span.reads for span in memory.trace)
        return output[0].tolist(), memory.schedule


def encoded(path: Path) -> int:
    with open_bank(path, HashEmbedder()) as bank:
        return int(bank.encoded(bank.ids.tolist()).sum())


def records(path: Path) -> dict[str, tuple[bytes, int]]:
    """Every record file: its bytes, and when it was written."""
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in path.rglob("c.*") if file.suffix != ".partial"}


def test_it_answers_as_the_encoded_bank_does_and_keeps_what_it_encoded(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, quantiser: str, encodes: list[int]
) -> None:
    full = write_tiny_bank(tmp_path / "full", model, tokenizer, TEXTS, quantiser_name=quantiser, batch_size=1)
    cold = write_tiny_bank(tmp_path / "cold", model, tokenizer, TEXTS, quantiser_name=quantiser, encode=False)
    expected = answer(full, model, tokenizer)
    encodes.clear()
    assert answer(cold, model, tokenizer) == expected
    read = {memory_id for span in expected[1] for memory_id in span.ids}
    assert encodes == [1] * len(read)
    assert encoded(cold) == len(read) < len(TEXTS)
    before = records(cold)
    encodes.clear()
    assert answer(cold, model, tokenizer) == expected
    assert encodes == []
    assert records(cold) == before
    verify(cold, deep=True)
    compact(cold)
    assert answer(cold, model, tokenizer) == expected
    assert encodes == []


def test_bytes_do_not_depend_on_what_else_was_missing(cold: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Each is encoded alone. In a batch, rounding decides which of two equal tokens is kept, so its company shows in the bytes."""
    _, spans = answer(cold, model, tokenizer)
    with open_bank(cold, HashEmbedder()) as bank:
        ids = sorted({memory_id for span in spans for memory_id in span.ids})
        alone = Encoder(model, tokenizer, bank.profile, EncoderConfig(batch_size=1))
        expected = alone.encode([chunk.reference for chunk in bank.chunks(ids)], ids)
        found = bank.read(ids)
    assert torch.equal(found.kv, expected.kv)
    assert torch.equal(found.slot_position, expected.slot_position)


def test_a_batch_reads_what_is_there_beside_what_is_not(
    tmp_path: Path, cold: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    full = write_tiny_bank(tmp_path / "full", model, tokenizer, TEXTS, batch_size=1)
    answer(cold, model, tokenizer)
    found = []
    for path in (full, cold):
        with open_bank(path, HashEmbedder()) as bank, kmem.attach(model, bank, tokenizer=tokenizer, top_k=4, every=16):
            inputs = tokenizer([PROMPT, "Paris is", "Iron in wet air"], padding=True, return_tensors="pt")
            found.append(model.generate(**inputs, max_new_tokens=8, min_new_tokens=8, do_sample=False))
    assert torch.equal(*found)


def test_the_model_is_as_before(cold: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    inputs = tokenizer(PROMPT, return_tensors="pt")
    with torch.inference_mode():
        before = model(**inputs).logits
        model.train()
        answer(cold, model, tokenizer)
        assert model.training
        model.eval()
        assert torch.equal(model(**inputs).logits, before)


def test_another_model_writes_nothing(cold: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(IdentityMismatchError, match="weights"):
        answer(cold, tiny_model(seed=1), tokenizer)
    assert encoded(cold) == 0


def test_weights_that_changed_write_nothing(cold: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """A model that is trained while it reads is no longer the one whose memories the bank holds."""
    changing = tiny_model()
    with open_bank(cold, HashEmbedder()) as bank:
        attachment = kmem.attach(changing, bank, tokenizer=tokenizer, top_k=1, every=16)
        with attachment:
            changing(**tokenizer(TEXTS[0], return_tensors="pt"))
            before = records(cold)
            with torch.no_grad():
                changing.model.layers[0].mlp.up_proj.weight.mul_(1.5)
            with pytest.raises(IdentityMismatchError, match="weights have changed since it was attached"):
                changing(**tokenizer(TEXTS[1], return_tensors="pt"))
        assert before
        assert records(cold) == before
        with pytest.raises(IdentityMismatchError), attachment:
            pass


def test_a_model_in_training_writes_without_dropout(cold: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    other = Path(shutil.copytree(cold, tmp_path / "other"))
    model, dropping = tiny_model(), tiny_model()
    dropping.train()
    dropping.model.layers[1].eval()
    for layer in dropping.model.layers:
        layer.self_attn.attention_dropout = 0.5
    modes = [module.training for module in dropping.modules()]
    for path, reader in ((cold, model), (other, dropping)):
        with open_bank(path, HashEmbedder()) as bank:
            ColdSource(BankSource(bank, tokenizer, 3), reader, tokenizer).read(bank.ids.tolist(), Stats())
    assert [module.training for module in dropping.modules()] == modes
    assert [data for data, _ in records(cold).values()] == [data for data, _ in records(other).values()]


def test_damage_is_named_and_not_encoded_again(cold: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    expected = answer(cold, model, tokenizer)
    file = next(cold.rglob("kv/c.*"))
    data = file.read_bytes()
    file.write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])
    with pytest.raises(CorruptBankError, match=rf"{file.name} was altered.*delete .*{file.name}, and the memory is encoded again"):
        answer(cold, model, tokenizer)
    file.unlink()
    assert answer(cold, model, tokenizer) == expected
    assert file.read_bytes() == data


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kills", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_a_random_moment(
    tmp_path: Path, cold: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, kills: int
) -> None:
    """Every record is there whole or not at all; the next one who attaches gets the same answer and the same bytes."""
    whole = Path(shutil.copytree(cold, tmp_path / "whole"))
    expected = answer(whole, model, tokenizer)
    after = {Path(name).relative_to(whole): data for name, (data, _) in records(whole).items()}
    longest = seconds_of(partial(answer, Path(shutil.copytree(cold, tmp_path / "timed")), model, tokenizer))
    generator, counts = np.random.default_rng(kills), set()
    for kill in range(kills):
        path = Path(shutil.copytree(cold, tmp_path / f"killed{kill}"))
        run_for(partial(answer, path, model, tokenizer), longest * (kill + float(generator.random())) / kills)
        counts.add(encoded(path))
        verify(path, deep=True)
        left = {Path(name).relative_to(path): data for name, (data, _) in records(path).items()}
        assert left.items() <= after.items()
        assert answer(path, model, tokenizer) == expected
        assert {Path(name).relative_to(path): data for name, (data, _) in records(path).items()} == after
        shutil.rmtree(path)
    assert len(counts) > 1


@pytest.mark.usefixtures("one_thread")
def test_two_processes_encode_the_same_rows(cold: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    pids = [child(partial(answer, cold, model, tokenizer))[0] for _ in range(3)]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    before = records(cold)
    answer(cold, model, tokenizer)
    assert records(cold) == before
    verify(cold, deep=True)


def test_two_threads_attach_one_bank(cold: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    expected: list[Answer] = []
    models = [tiny_model(), tiny_model()]  # here: threads would share the seed
    threads = [threading.Thread(target=lambda model=model: expected.append(answer(cold, model, tokenizer))) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert expected == [answer(cold, tiny_model(), tokenizer)] * 2


def test_where_nothing_can_be_written_they_stay_in_ram(
    cold: Path, tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, encodes: list[int]
) -> None:
    expected = answer(Path(shutil.copytree(cold, tmp_path / "other")), model, tokenizer)
    read = len({memory_id for span in expected[1] for memory_id in span.ids})
    encodes.clear()
    with (
        files_limited_to(0),
        pytest.warns(NotStoredWarning, match=r"cold lacks .* kept in RAM, since it can't be written .*, or run kmem encode") as said,
    ):
        assert answer(cold, model, tokenizer) == expected
    assert len(said) == 1
    assert encodes == [1] * read
    assert encoded(cold) == 0
    assert answer(cold, model, tokenizer) == expected
    assert encoded(cold) == read


def test_a_read_only_disk(cold: Path, tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    with disk(tmp_path / "disk") as small:
        path = Path(shutil.copytree(cold, small.folder / "bank"))
        small.read_only()
        with pytest.warns(NotStoredWarning, match="it can't be written .Read-only file system"):
            found = answer(path, model, tokenizer)
        assert encoded(path) == 0
    assert found == answer(cold, model, tokenizer)


def test_another_precision_is_kept_apart(cold: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.warns(NotStoredWarning, match="encoded in float32 and this model runs in bfloat16: load the model with dtype='float32'"):
        answer(cold, tiny_model(dtype=torch.bfloat16), tokenizer)
    assert encoded(cold) == 0
    with open_bank(cold, HashEmbedder()) as bank, torch.autocast("cpu", dtype=torch.bfloat16):
        source = ColdSource(BankSource(bank, tokenizer, 3), tiny_model(), tokenizer)
        ids = bank.ids.tolist()
        stats = Stats()
        found = bank.quantiser.decode(source.read(ids, stats).stored.numpy())
        assert stats.encoded == len(ids)
    with open_bank(cold, HashEmbedder()) as bank:
        alone = Encoder(tiny_model(), tokenizer, bank.profile, EncoderConfig(batch_size=1))
        assert torch.equal(found, alone.encode([chunk.reference for chunk in bank.chunks(ids)], ids).kv)


@pytest.mark.parametrize("room", [0, 2, 100])
def test_ram_takes_no_more_than_its_budget(
    cold: Path, tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, encodes: list[int], room: int
) -> None:
    """Of what can't be stored, the least recently used goes and is encoded again when it is wanted."""
    full = write_tiny_bank(tmp_path / "full", model, tokenizer, TEXTS, batch_size=1)
    encodes.clear()
    with open_bank(full, HashEmbedder()) as bank:
        records = {memory_id: bank.read([memory_id]).kv for memory_id in bank.ids.tolist()}
    one, two, three, four = list(records)[:4]
    warned = pytest.warns(NotStoredWarning)
    with open_bank(cold, HashEmbedder()) as bank, files_limited_to(0), warned:
        inner, stats = BankSource(bank, tokenizer, 3, ram_bytes=room * bank.record_bytes), Stats()
        source = ColdSource(inner, model, tokenizer)
        for ids in ([one, two, three], [three, one], [four], [one, four, one], [two]):
            found = source.read(ids, stats)
            assert found.ids == tuple(ids)
            assert torch.equal(bank.quantiser.decode(found.stored.numpy()), torch.cat([records[memory_id] for memory_id in ids]))
            assert torch.equal(found.filled, bank.filled(ids))
            assert len(inner._ram) <= room
        source.close()
    assert len(encodes) == stats.encoded == {0: 3 + 2 + 1 + 2 + 1, 2: 3 + 1 + 1 + 0 + 1, 100: 4}[room]
    assert (stats.memories_read, stats.read_bytes) == (0, 0)


def test_counters_of_what_is_not_stored(cold: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    warned = pytest.warns(NotStoredWarning)
    with (
        open_bank(cold, HashEmbedder()) as bank,
        files_limited_to(0),
        warned,
        kmem.attach(model, bank, tokenizer=tokenizer, top_k=3, every=16, device_bytes=0) as memory,
    ):
        inputs = tokenizer(PROMPT, return_tensors="pt")
        model.generate(**inputs, max_new_tokens=40, min_new_tokens=40, do_sample=False)
        stats = memory.stats()
    assert stats["ram_misses"] == stats["encoded"] > 0
    assert stats["ram_hits"] + stats["ram_misses"] == stats["device_misses"]
    assert stats["memories_read"] == 0


def test_read_ahead_reads_what_is_encoded_beside_what_is_not(
    cold: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Of each piece of the likely ones, those that are there."""
    with open_bank(cold, HashEmbedder()) as bank:
        ranked = bank.nearest(bank.queries([PROMPT]), len(TEXTS))[1][0].tolist()
        there = [ranked[1], ranked[2], ranked[2 * PIECE], ranked[2 * PIECE + 1]]
        ColdSource(BankSource(bank, tokenizer, 3), model, tokenizer).read(there, Stats())
        source, stats = BankSource(bank, tokenizer, 1, ram_bytes=1 << 20, ahead=len(TEXTS)), Stats()
        source.retrieve([tokenizer(PROMPT)["input_ids"]], stats)
        source.read_ahead(stats)
        for _ in range(2000):
            if stats.ahead_read >= len(there):
                break
            threading.Event().wait(0.005)
        source.read(there, stats)
        source.close()
    assert (stats.ahead_read, stats.ahead_used, stats.ram_misses) == (4, 4, 0)
