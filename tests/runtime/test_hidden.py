"""A bank found by the model's own hidden states: built, searched, read while generating, added to, mended; no second model anywhere."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

import kmem
from kmem.encoder.hidden import QUERY_TOKENS, HiddenStates
from kmem.errors import ConfigError, IdentityMismatchError, ModelNotFoundError
from kmem.kstore.bank import open_bank
from kmem.kstore.index.retriever import require_same_embedder
from kmem.kstore.verify import repair_index, verify
from kmem.runtime.searching import hidden_states_for, loaded_hidden_states
from tests.runtime.conftest import TEXTS
from tests.tiny import ARCHITECTURES, byte_tokenizer, save_tiny_model, tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "tiny")


@pytest.fixture(params=["hidden", "hybrid:hidden"])
def path(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Path:
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:8]))
    config = kmem.BuildConfig(model=str(folder), profile="uniform8", dtype="float32", embedder=request.param)
    kmem.build(tmp_path / "texts.jsonl", out=tmp_path / "bank", config=config)
    return tmp_path / "bank"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_vector_is_the_mean_of_a_layer_s_input(architecture: str) -> None:
    model, tokenizer = tiny_model(architecture), byte_tokenizer()
    hidden = HiddenStates(model, tokenizer, layer=2, batch_size=2)
    texts = ["short", "a longer text of more bytes", "x"]
    vectors, told = hidden.embed(texts), list[int]()
    assert np.array_equal(hidden.embed(texts, told.append), vectors)
    assert told == [2, 1]
    with torch.inference_mode():
        for text, vector in zip(texts, vectors, strict=True):
            inputs = torch.tensor([[256, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
            states = model(inputs, output_hidden_states=True).hidden_states[2][0, 1:]
            mean, spread = hidden._standard
            expected = (states.mean(dim=0).numpy() - mean) / spread
            assert np.allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_queries_end_with_their_last_tokens_and_special_tokens_do_not_count() -> None:
    hidden = HiddenStates(tiny_model(), byte_tokenizer())
    text = "y" * 50 + "x" * QUERY_TOKENS
    assert np.allclose(hidden.embed_queries([text]), hidden.embed(["x" * QUERY_TOKENS]), atol=1e-6)
    assert np.array_equal(hidden.embed_tokens([[256, 97, 98, 257]]), hidden.embed_tokens([[97, 98]]))
    assert np.isfinite(hidden.embed([""])).all()
    assert hidden.embed([]).shape == (0, 32)


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"layer 4.* has 4"):
        HiddenStates(tiny_model(), byte_tokenizer(), layer=4)


def test_the_model_is_as_it_was(model: PreTrainedModel) -> None:
    model.train()
    HiddenStates(model, byte_tokenizer()).embed(["text"])
    assert model.training
    assert model.config._attn_implementation != "kmem"
    assert not any(layer._forward_pre_hooks for layer in model.get_decoder().layers)


def test_every_text_finds_itself(path: Path, folder: Path) -> None:
    with open_bank(path) as bank, pytest.raises(ConfigError, match="HiddenStates"):
        bank.search("Short.")
    with open_bank(path, hidden=loaded_hidden_states) as bank:
        for memory_id in bank.ids.tolist():
            chunk = bank.chunk(memory_id)
            assert bank.search(chunk.reference[-QUERY_TOKENS:], k=1)[0].id == memory_id or len(chunk.reference) > QUERY_TOKENS
    with open_bank(path) as bank, pytest.raises(ModelNotFoundError, match="has to be loaded to search it"):
        loaded_hidden_states(bank.manifest, model=str(folder / "gone"))


def test_generating_reads_what_the_hidden_states_find(path: Path, folder: Path) -> None:
    """The model runs in the middle of its own forward pass, with memories attached, and detaches unchanged."""
    model, tokenizer = kmem.load_model(str(folder), dtype="float32")
    ids = tokenizer("The moon orbits the earth.", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        before = model(ids).logits
        with open_bank(path) as bank, kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=16) as memory:
            model.generate(ids, max_new_tokens=20, do_sample=False)
            assert memory.trace
            first = memory.schedule[0]
            hidden = hidden_states_for(bank, model, tokenizer)
            assert hidden is not None
        with open_bank(path, hidden=lambda _: hidden) as bank:
            text = tokenizer.decode(ids[0, first.start : first.stop])
            assert [hit.id for hit in bank.search(text, k=2)] == list(first.ids)
        assert torch.equal(model(ids).logits, before)


def test_another_model_is_refused(path: Path, folder: Path) -> None:
    _, tokenizer = kmem.load_model(str(folder), dtype="float32")
    with open_bank(path) as bank, pytest.raises(IdentityMismatchError, match="weights"):
        kmem.attach(tiny_model(seed=3), bank, tokenizer=tokenizer)
    with pytest.raises(IdentityMismatchError, match="made by embedder"):
        open_bank(path, HiddenStates(tiny_model(seed=3), tokenizer))


def test_every_part_of_it_is_in_its_identity() -> None:
    base = HiddenStates(tiny_model(), byte_tokenizer())
    other_tokenizer = byte_tokenizer()
    other_tokenizer.add_tokens(["heron"])
    assert base.layer == 1  # a tenth of the layers, and never the embedding
    others = {
        "layer": HiddenStates(tiny_model(), byte_tokenizer(), layer=2),
        "weights": HiddenStates(tiny_model(seed=3), byte_tokenizer()),
        "tokenizer": HiddenStates(tiny_model(), other_tokenizer),
    }
    for name, other in others.items():
        with pytest.raises(IdentityMismatchError, match=rf"\({name}: index [^;]*\); use the embedder"):
            require_same_embedder(base.identity(), other.identity())
    assert base.identity().keys() == {"name", "dim", "pooling", "architecture", *others}


def test_appended_to_and_mended(path: Path, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("A sonnet has fourteen lines.")
    kmem.append(path, tmp_path / "more.txt")
    (index,) = (path / "index").glob("000002-*.faiss")
    index.unlink()
    repair_index(path, hidden=loaded_hidden_states)
    assert verify(path, deep=True)["memories"] == 9
    with open_bank(path, hidden=loaded_hidden_states) as bank:
        assert bank.search("A sonnet has fourteen lines.", k=1)[0].text == "A sonnet has fourteen lines."
