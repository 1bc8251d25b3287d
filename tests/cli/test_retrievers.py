"""`--embedder` at the command line: words and hidden states find, prefixes are for those who take them, what is missing is said."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused


def options(folder: Path) -> tuple[object, ...]:
    return "--model", folder, "--profile", "uniform8", "--dtype", "float32"


@pytest.mark.parametrize("name", ["bm25", "hidden", "hybrid:hidden"])
def test_built_searched_and_described(kmem: Run, tiny_folder: Path, tmp_path: Path, name: str) -> None:
    for number, text in enumerate(("Iron rusts in wet air.", "试用期最长不得超过六个月。")):
        (tmp_path / f"{number}.txt").write_text(text)
    built = kmem("build", *tmp_path.glob("*.txt"), "--out", tmp_path / "bank", "--embedder", name, *options(tiny_folder), "--json")
    assert built.code == 0, built.err
    hits = json.loads(kmem("query", tmp_path / "bank", "试用期最长不得超过六个月。", "--json").out)["hits"]
    assert hits[0]["text"] == "试用期最长不得超过六个月。"
    assert len(hits) == (1 if name == "bm25" else 2)
    unshared = kmem("query", tmp_path / "bank", "quantum")
    assert unshared.code == 0
    assert ("Nothing was found: no memory shares a word with the query." in unshared.out) is (name == "bm25")
    described = json.loads(kmem("info", tmp_path / "bank", "--json").out)["index"]
    assert described == {"bm25": "BM25 by bm25, exact"}.get(name, f"IDMap2,Flat{' and BM25' if ':' in name else ''} by {name}, exact")
    answered = kmem("generate", tmp_path / "bank", "--prompt", "Iron", "--max-new-tokens", "3", "--json")
    assert answered.code == 0, answered.err


def test_hidden_states_without_their_model(kmem: Run, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Iron rusts.")
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    assert kmem("build", tmp_path / "a.txt", "--out", tmp_path / "bank", "--embedder", "hidden", *options(folder)).code == 0
    folder.rename(tmp_path / "moved")
    refused(kmem("query", tmp_path / "bank", "iron"), "hidden states", "has to be loaded to search it", str(folder))
    assert kmem("query", tmp_path / "bank", "iron", "--model", tmp_path / "moved").code == 0


def test_prefixes_and_indexes_that_nothing_takes(kmem: Run, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Iron rusts.")
    build = ("build", tmp_path / "a.txt", "--out", tmp_path / "bank", *options(tiny_folder))
    refused(kmem(*build, "--embedder", "bm25", "--query-prefix", "query: "), "'bm25' takes no prefixes")
    refused(kmem(*build, "--embedder", "hybrid:bm25"), "name one of vectors")
    refused(kmem(*build, "--embedder", "bm25", "--index", "HNSW32"), "'bm25' has no vectors for an index 'HNSW32'", "leave --index out")
    assert not (tmp_path / "bank").exists()
