"""Appending to a bank that words find: they are counted anew, over all texts, each under its own id."""

from pathlib import Path

import pytest

from kmem import AppendConfig, BuildConfig, append, build
from kmem.kstore.bank import open_bank
from kmem.kstore.index.lexical import build_lexical, read_lexical

FIRST, MORE = ("A fox jumps over the dog.", "Owls hunt mice by night."), ("Newts live in ponds.", "A fox hunts newts by night.")


@pytest.mark.parametrize("encode", [True, False])
def test_every_text_is_found_by_its_words(tmp_path: Path, tiny_folder: Path, encode: bool) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for number, text in enumerate(FIRST):
        (folder / f"{number}.txt").write_text(text)
    build(folder, out=tmp_path / "bank", config=BuildConfig(model=str(tiny_folder), profile="uniform8", dtype="float32", embedder="bm25"))
    for number, text in enumerate(MORE):
        (folder / f"more{number}.txt").write_text(text)
    append(tmp_path / "bank", folder, config=AppendConfig(encode=encode))
    with open_bank(tmp_path / "bank") as bank:
        texts = {chunk.id: chunk.reference for chunk in bank.chunks(bank.ids.tolist())}
        assert sorted(texts.values()) == sorted((*FIRST, *MORE))
        assert all(bank.search(text, k=1)[0].id == memory_id for memory_id, text in texts.items())
        words = bank.manifest.index.words
        assert words is not None
        appended = read_lexical(bank.place, words, 4)
        anew = build_lexical(texts.values(), bank.ids)
    query = ["fox newts night"]
    (scores, ids), (expected, best) = appended.search(query, 4), anew.search(query, 4)
    assert ids.tolist() == best.tolist()
    assert scores.tolist() == expected.tolist()
