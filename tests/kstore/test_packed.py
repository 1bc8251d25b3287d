"""Packed linear layers compute what plain ones do, and step aside where they can't."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from kmem.kstore.index.embed import Embedder
from kmem.kstore.index.packed import PackedLinear, _narrows, narrowed, pack


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Sequential(nn.Linear(40, 7, bias=False)), nn.LayerNorm(7)).to(dtype).eval()


@pytest.mark.parametrize("rows", [1, 3, 63, 64, 65, 1000])
def test_packed_layers_agree_with_plain_ones(rows: int) -> None:
    plain, fast = network(), network()
    assert pack(fast) == sum(isinstance(module, PackedLinear) for module in fast.modules()) == 2
    with torch.inference_mode():
        inputs = torch.randn(2, rows, 24)
        assert torch.allclose(fast(inputs), plain(inputs), rtol=0, atol=1e-5)


def test_what_cannot_be_packed_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for model in (network(torch.float64), network(torch.bfloat16), nn.Sequential(nn.GELU()), network().to("meta")):
        assert pack(model) == 0
    monkeypatch.setattr("kmem.kstore.index.packed.TOLERANCE", -1.0)  # a torch whose operator gives something else
    assert pack(network()) == 0


def test_the_embedder_finds_the_same_vectors() -> None:
    """And is the same: packing changes its identity no more than its answers."""
    embedder, texts = Embedder(), ["A hash table maps keys to values.", "cats sleep", ""]
    plain = copy.deepcopy(embedder._model).encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(embedder.embed(texts) - plain).max() < 1e-6
    assert any(isinstance(module, PackedLinear) for module in embedder._model.modules())
    assert embedder.identity() == Embedder().identity()


def test_a_processor_with_bfloat16_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And none whose products are not what they should be."""
    flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    native = any(getattr(torch.cpu, name, bool)() for name in flags)
    assert _narrows() == native
    monkeypatch.setattr("kmem.kstore.index.packed.NARROW_TOLERANCE", -1.0)
    assert not _narrows.__wrapped__()
    monkeypatch.undo()
    for name in flags:
        monkeypatch.setattr(torch.cpu, name, bool, raising=False)
    assert not _narrows.__wrapped__()


def test_narrow_layers_are_near_and_only_for_the_time_being() -> None:
    plain, fast = network(), network()
    pack(fast)
    with torch.inference_mode():
        inputs = torch.randn(2, 65, 24)
        wide = fast(inputs)
        with narrowed(fast):
            narrow = fast(inputs)
        assert torch.allclose(narrow, plain(inputs), rtol=0, atol=0.1)  # of numbers as large as 3
        assert torch.equal(narrow, wide) == (not _narrows())
        assert torch.equal(fast(inputs), wide)


def test_queries_find_what_wide_ones_find() -> None:
    """Queries are embedded in bfloat16 where that is fast, passages never."""
    embedder = Embedder()
    texts = ["A hash table maps keys to values.", "cats sleep", "The brown fox jumps over the lazy dog."]
    wide, narrow = embedder.embed(texts), embedder.embed_queries(texts)
    assert np.all((wide * narrow).sum(-1) > 0.9999)
    assert np.array_equal(wide, narrow) == (not _narrows())
