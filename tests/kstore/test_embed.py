"""The real embedder, all-MiniLM-L6-v2 out of its package."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import kmem.kstore
from kmem.errors import IdentityMismatchError, ModelNotFoundError
from kmem.kstore.index.embed import Embedder
from kmem.kstore.index.retriever import require_same_embedder
from tests.tiny import save_tiny_model

TEXTS = ["a hash table maps keys to values", "cats sleep", "dictionaries look up entries by key", "", "x " * 300]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(batch_size=2)


@pytest.mark.filterwarnings("default")  # what transformers warns about on import is not ours
def test_vectors_are_unit_in_order_and_repeatable(embedder: Embedder, capsys: pytest.CaptureFixture[str]) -> None:
    done: list[int] = []
    vectors = embedder.embed(TEXTS, done.append)
    assert vectors.shape == (5, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert done == [2, 2, 1]
    assert np.array_equal(vectors, embedder.embed(TEXTS))
    for row, text in enumerate(TEXTS):
        assert np.allclose(vectors[row], embedder.embed([text])[0], atol=1e-5)
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1] + 0.3
    assert capsys.readouterr() == ("", "")


def test_an_enclosing_autocast_changes_no_vector(embedder: Embedder) -> None:
    """A search made while a model generates in bfloat16 finds what it finds otherwise."""
    outside = embedder.embed(TEXTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(embedder.embed(TEXTS), outside)


def test_identity_names_the_weights(embedder: Embedder) -> None:
    identity = embedder.identity()
    assert (identity["name"], identity["dim"], identity["max_tokens"]) == ("minilm", 384, 256)
    require_same_embedder(identity, Embedder().identity() | {"name": "/a/copy/of/it"})
    with pytest.raises(IdentityMismatchError, match="weights"):
        require_same_embedder(identity, identity | {"weights": "other"})


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, 384)


def test_an_unknown_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="minilm"):
        Embedder(str(tmp_path)).embed(["x"])


@pytest.mark.filterwarnings("default")
def test_a_language_model_embeds_by_the_mean_of_its_states(tmp_path: Path) -> None:
    """Its tokenizer makes no token of an empty text, on which the model can't run."""
    embedder = Embedder(str(save_tiny_model(tmp_path)))
    assert embedder.identity()["dim"] == embedder.embed(["iron rusts", "water"]).shape[1] == 32


def test_the_store_never_imports_the_language_model() -> None:
    sources = list(Path(kmem.kstore.__path__[0]).rglob("*.py"))
    forbidden = re.compile(r"^\s*(from|import) (transformers|dask|kmem\.(encoder|runtime|pipelines))", re.MULTILINE)
    assert len(sources) > 15
    assert [file.name for file in sources if forbidden.search(file.read_text())] == []
