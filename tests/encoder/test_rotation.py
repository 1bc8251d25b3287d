"""RoPE by behaviour: layers without it, partial and interleaved layouts, and models whose positions can't be undone."""

import pytest
import torch
from torch import nn
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    GlmConfig,
    GlmForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
)

from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder
from kmem.encoder.rotation import rotated_layers
from kmem.errors import UnsupportedModelError
from kmem.memories import EMPTY_SLOT
from kmem.profile import Profile
from tests.tiny import ARCHITECTURES, SHAPE, byte_tokenizer, loud, tiny_model, uniform_budget

DISTINCT = torch.randperm(256, generator=torch.Generator().manual_seed(0))[:33].tolist()
"""Tokens that all differ: equal ones have equal keys before RoPE, and ties would be broken by rounding."""

OTHERS = {
    "cohere (interleaved)": lambda: CohereForCausalLM(CohereConfig(**SHAPE)),
    "glm (partial, interleaved)": lambda: GlmForCausalLM(GlmConfig(**SHAPE, head_dim=8)),
    "gpt-neox (partial)": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**{**SHAPE, "num_key_value_heads": 4})),
    "phi (partial)": lambda: PhiForCausalLM(PhiConfig(**SHAPE)),
    "smollm3 (every fourth layer without)": lambda: SmolLM3ForCausalLM(SmolLM3Config(**SHAPE)),
    "stablelm (partial)": lambda: StableLmForCausalLM(StableLmConfig(**SHAPE)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_layers_of_the_five_rotate(architecture: str, dtype: torch.dtype) -> None:
    model = tiny_model(architecture, dtype=dtype)
    assert rotated_layers(model, examine(model), 3) == (True,) * 4


@pytest.mark.parametrize("name", OTHERS)
def test_other_layouts_are_undone(name: str) -> None:
    """In the first layer, selection sees the same queries and keys wherever a chunk stands: at either end it keeps the same tokens."""
    model: PreTrainedModel = loud(OTHERS[name]()).double()
    anatomy = examine(model)
    assert rotated_layers(model, anatomy, 3) == ((True, True, True, False) if "smollm3" in name else (True,) * 4)
    budget = uniform_budget(8, layers=4, heads=anatomy.heads)
    ends = [
        Encoder(model, byte_tokenizer(), Profile(name="t", budget=budget, align=align)).encode_tokens([DISTINCT], [0])
        for align in ("start", "end")
    ]
    first = 8 * anatomy.heads
    assert torch.equal(ends[0].slot_position[:, :first], ends[1].slot_position[:, :first])
    assert not torch.allclose(ends[0].kv[:, 0, :first], ends[1].kv[:, 0, :first])


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gemma3", "smollm3 (every fourth layer without)"])
def test_kept_tokens_are_those_of_the_formula_on_projections_before_rope(architecture: str) -> None:
    """Memory³ §3.3 by hand, from the model's own projections: the right scaling, no mask, no rotation, reference tokens alone."""
    model = loud(OTHERS[architecture]()).double() if architecture in OTHERS else tiny_model(architecture, dtype=torch.float64)
    encoder = Encoder(model, byte_tokenizer(), Profile(name="t", budget=uniform_budget(5)))
    seen: dict[tuple[int, str], torch.Tensor] = {}
    for index, layer in enumerate(model.model.layers):
        for part in ("q", "k"):
            module: nn.Module = getattr(layer.self_attn, f"{part}_norm", None) or getattr(layer.self_attn, f"{part}_proj")
            module.register_forward_hook(lambda _m, _a, out, key=(index, part): seen.__setitem__(key, out.detach()))
    memories = encoder.encode_tokens([DISTINCT], [0])
    prefix = len(encoder.bracket.prefix)
    for layer in range(4):
        q, k = (_by_head(seen[layer, part], heads)[:, prefix:] for part, heads in (("q", 4), ("k", 2)))
        weights = torch.softmax(q @ k.repeat_interleave(2, dim=0).transpose(-1, -2) * model.model.layers[layer].self_attn.scaling, dim=-1)
        scores = weights.sum(1).view(2, 2, -1).sum(1)
        expected = scores.topk(5).indices.sort().values.flatten().tolist()
        at = torch.from_numpy(encoder.profile.slot_layer == layer)
        assert memories.slot_position[0, at].tolist() == expected
    assert (memories.slot_position != EMPTY_SLOT).all()


def _by_head(states: torch.Tensor, heads: int) -> torch.Tensor:
    """[1, T, heads·D], [1, T, heads, D] or [1, heads, T, D] → [heads, T, D]."""
    if states.ndim == 3:
        states = states.view(1, states.shape[1], heads, -1)
    return states[0] if states.shape[1] == heads else states[0].transpose(0, 1)


def test_positions_that_are_not_rope_are_refused() -> None:
    """A model that adds something position-dependent to its keys is found out by running it."""
    model = tiny_model()
    drift = nn.Parameter(torch.randn(4096, 16))
    attention = model.model.layers[2].self_attn
    positions: list[torch.Tensor] = []
    model.model.rotary_emb.register_forward_pre_hook(
        lambda _m, args, kwargs: positions.append(kwargs.get("position_ids", args[-1])), with_kwargs=True
    )
    attention.k_proj.register_forward_hook(lambda _m, _a, out: out + 3 * drift[positions[-1]])
    with pytest.raises(UnsupportedModelError, match="keys of layer 2 can't be undone"):
        rotated_layers(model, examine(model), 3)
