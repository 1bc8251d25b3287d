"""A transformers model: saved, loaded by the Auto classes, generating; and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, DynamicCache

from kmem.errors import ConfigError, UnknownNameError
from kmem.models.bmojo import BMojoCache, BMojoConfig, BMojoForCausalLM, BMojoModel
from kmem.models.bmojo.variants import VARIANTS
from tests.models.bmojo.shapes import config, model, tokens


@pytest.mark.parametrize("variant", ["bmojo", "hybrid"])
@torch.no_grad()
def test_saved_and_loaded_by_the_auto_classes_it_is_the_same(tmp_path: Path, variant: str) -> None:
    built, ids = model(dtype=torch.float32, variant=variant, threshold=0.5, tie_fading=False), tokens(1, 30)
    built.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(loaded, BMojoForCausalLM)
    assert loaded.config.to_diff_dict() == built.config.to_diff_dict()
    assert torch.equal(loaded(ids).logits, built(ids).logits)
    bare = AutoModel.from_pretrained(tmp_path)
    assert isinstance(bare, BMojoModel)
    assert torch.equal(bare(ids).last_hidden_state, built.model(ids).last_hidden_state)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), BMojoConfig)


def test_a_new_model_starts_as_its_parts_should() -> None:
    built = model(dtype=torch.float32)
    layer: Any = built.model.layers[0]
    memory = layer.mixer.fading
    torch.testing.assert_close(memory.A_log.exp(), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert (memory.norm.weight == 1).all()
    assert (memory.conv1d.bias == 0).all()
    assert 0.15 < built.lm_head.weight.std() < 0.25
    assert built.lm_head.weight is built.model.embed_tokens.weight


@pytest.mark.parametrize("variant", VARIANTS)
def test_generate_equals_reading_everything_anew(variant: str) -> None:
    """Also for two rows, and from a cache that has read most of the prompt."""
    built, ids = model(variant=variant, eos_token_id=None), tokens(2, 21)
    once = built.generate(ids, max_new_tokens=12, do_sample=False)
    assert torch.equal(built.generate(ids, max_new_tokens=12, do_sample=False, use_cache=False), once)
    cache = BMojoCache(2)
    built(ids[:, :15], past_key_values=cache, use_cache=True)
    assert torch.equal(built.generate(ids, past_key_values=cache, max_new_tokens=12, do_sample=False), once)
    assert cache.get_seq_length() == 21 + 11


def test_beams_take_their_memories_along() -> None:
    built, ids = model(eos_token_id=None), tokens(2, 21)
    settings: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 8, "do_sample": False}
    assert torch.equal(built.generate(ids, **settings), built.generate(ids, **settings, use_cache=False))


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")  # its successor is younger than 5.20
def test_loss_is_of_the_next_token_and_checkpoints_change_no_gradient() -> None:
    built, ids = model(), tokens(2, 20)
    output = built(ids, labels=ids)
    expected = torch.nn.functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(output.loss.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(built(ids, logits_to_keep=1).logits, output.logits[:, -1:])
    gradients = []
    for checkpointed in (False, True):
        built.train()
        if checkpointed:
            built.gradient_checkpointing_enable()
        built.zero_grad()
        built(ids, labels=ids).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in built.parameters()])
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_rows_of_different_length_are_refused_unless_padding_is_behind_them() -> None:
    built, ids = model(), tokens(2, 20)
    left, right = torch.ones(2, 20, dtype=torch.int64), torch.ones(2, 20, dtype=torch.int64)
    left[1, :3] = right[1, -3:] = 0
    for mask in (left, right):
        with pytest.raises(ConfigError, match="rows of one length"):
            built.generate(ids, attention_mask=mask, max_new_tokens=2)
    with pytest.raises(ConfigError, match="rows of one length"):
        built(ids, attention_mask=left, use_cache=False)
    read = built(ids, attention_mask=right, use_cache=False).logits
    torch.testing.assert_close(read[1, :17], built(ids[1:, :17]).logits[0], rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_outputs_are_tuples_for_who_wants_them() -> None:
    built, ids = model(), tokens(1, 20)
    for part in (built, built.model):
        named = part(ids, output_hidden_states=True)
        first, cache, hidden = part(ids, output_hidden_states=True, return_dict=False)
        assert torch.equal(first, named[0])
        assert isinstance(cache, BMojoCache)
        assert torch.equal(hidden[-1], named.hidden_states[-1])


def test_another_cache_and_no_token_are_refused() -> None:
    built = model()
    with pytest.raises(ConfigError, match="not in a DynamicCache: give none"):
        built(tokens(1, 3), past_key_values=DynamicCache())
    with pytest.raises(ConfigError, match="no token to read"):
        built(tokens(1, 0))


def test_a_cache_does_not_go_back() -> None:
    built, cache = model(), BMojoCache(2)
    built(tokens(1, 9), past_key_values=cache, use_cache=True)
    with pytest.raises(ConfigError, match="can't forget its last 2 tokens"):
        cache.crop(2)
    cache.reset()
    assert cache.get_seq_length() == 0
    assert cache.bytes_per_layer() == [{}, {}]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"variant": "mojo"}, "Unknown variant 'mojo'"),
        ({"mixers": ["bmojo", "mamba"]}, "Unknown mixer 'mamba'"),
        ({"mixers": ["bmojo"]}, "1 mixers were given for 2 layers"),
        ({"innovation": "learned"}, "Unknown innovation 'learned'"),
        ({"innovation": "state", "fading": 0}, "give fading above 0"),
        ({"eidetic": 0}, "bmojo_f stores nothing"),
        ({"eidetic": None, "variant": "random_m"}, "random_m needs to know"),
        ({"num_key_value_heads": 3}, "3 doesn't divide 4"),
        ({"state_heads": 5}, "5 doesn't divide 64"),
        ({"head_dim": 7}, "even head_dim, not 7"),
        ({"retrieve": 0}, "at least 1"),
        ({"reach": -1}, "reach must be 0 or more tokens, not -1"),
        ({"chunk": 16, "window": 8}, "A chunk of 16 tokens doesn't fit a window of 8"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=said):
        config(**changes)


def test_a_config_comes_back_from_its_own_words() -> None:
    given = config(variant="hybrid")
    assert given.mixers == ["ssm", "swa"]
    assert BMojoConfig.from_dict(given.to_dict()).to_dict() == given.to_dict()
