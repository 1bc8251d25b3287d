"""However the input is cut, the output is that of one forward, and what is remembered stays as small as it should."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kmem.models.bmojo import BMojoCache, BMojoForCausalLM
from kmem.models.bmojo.variants import VARIANTS
from tests.models.bmojo.shapes import STORES, model, tokens

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
LENGTH = 45
CUTS = {torch.float32: ([7, 1, 12, 25],), torch.float64: ([1] * LENGTH, [8] * 5 + [5], [24, 21])}
PREDICTED = [name for name, more in STORES.items() if "innovation" not in more and more.get("fading") != 0]
KINDS = [*(pytest.param({"variant": name}, id=name) for name in VARIANTS), *(pytest.param(more, id=name) for name, more in STORES.items())]


def streamed(reader: BMojoForCausalLM, ids: Tensor, sizes: list[int]) -> tuple[Tensor, BMojoCache]:
    cache, parts = BMojoCache(len(reader.model.layers)), []
    for part in torch.split(ids, sizes, dim=1):
        parts.append(reader(part, past_key_values=cache, use_cache=True).logits)
    assert cache.get_seq_length() == ids.shape[1]
    return torch.cat(parts, dim=1), cache


@pytest.mark.parametrize(
    "changes", [*KINDS, *(pytest.param({**STORES[name], "innovation": "state"}, id=f"{name}, by read-out") for name in PREDICTED)]
)
@pytest.mark.parametrize("dtype", TOLERANCE)
@torch.no_grad()
def test_parallel_equals_streaming_at_any_chunking(changes: dict[str, Any], dtype: torch.dtype) -> None:
    reader, ids = model(dtype=dtype, **changes), tokens(2, LENGTH)
    whole = reader(ids).logits
    for sizes in CUTS[dtype]:
        parts, _ = streamed(reader, ids, sizes)
        assert (parts - whole).abs().max() < TOLERANCE[dtype] * whole.abs().max()


@pytest.mark.parametrize("changes", KINDS)
@torch.no_grad()
def test_no_token_depends_on_a_later_one(changes: dict[str, Any]) -> None:
    reader, ids = model(**changes), tokens(1, LENGTH)
    for cut in (9, 32):
        other = torch.cat([ids[:, :cut], tokens(1, LENGTH - cut, seed=1)], dim=1)
        torch.testing.assert_close(reader(other).logits[:, :cut], reader(ids).logits[:, :cut], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("changes", KINDS)
@torch.no_grad()
def test_a_row_does_not_depend_on_its_neighbours(changes: dict[str, Any]) -> None:
    reader, ids = model(**changes), tokens(2, LENGTH)
    together = reader(ids).logits
    for row in range(2):
        torch.testing.assert_close(reader(ids[row, None]).logits[0], together[row], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "transformer"])
@torch.no_grad()
def test_a_bounded_memory_is_as_large_after_many_tokens_as_after_few(variant: str) -> None:
    """Buffers breathe with the place in a chunk, so after whole chunks; and no tensor keeps a larger one alive."""
    reader = model(variant=variant)
    sizes = []
    for length in (40, 120):
        _, cache = streamed(reader, tokens(1, length), [length])
        sizes.append(cache.bytes_per_layer())
        for state in cache.states:
            assert all(part.untyped_storage().nbytes() == part.nbytes for part in state.values())
    assert sizes[0] == sizes[1]


@torch.no_grad()
def test_bytes_are_those_of_the_memories_by_name() -> None:
    """12 window keys of 2 heads and 8 numbers, as many fading keys before them, 5 eidetic ones, a state of 4 heads."""
    _, cache = streamed(model(), tokens(1, 40), [40])
    pair, number = 2 * 8 * 8, 8
    for sizes in cache.bytes_per_layer():
        assert sizes["window_key"] == sizes["window_value"] == 12 * pair
        assert sizes["fading_key"] == sizes["fading_value"] == 24 * pair
        assert sizes["eidetic_key"] == sizes["eidetic_value"] == 5 * pair
        assert sizes["eidetic_priority"] == 5 * number
        assert sizes["window_priority"] == 12 * number
        assert sizes["state"] == 4 * 16 * 8 * number
        assert sizes["conv"] == 3 * (64 + 2 * 2 * 8) * number
        assert sizes["recent"] == 4 * 32 * number


@torch.no_grad()
def test_a_growing_store_grows_by_what_is_above_the_threshold() -> None:
    reader = model(threshold=1.8, eidetic=None)
    held = []
    for length in (40, 80, 160):
        _, cache = streamed(reader, tokens(1, length), [length])
        held.append(cache.states[0]["eidetic_key"].shape[2])
    assert 0 < held[0] < held[1] < held[2] < 160 - 12
