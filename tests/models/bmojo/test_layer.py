"""A layer against masks written out, against what was published, and at its limits."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from kmem.models.bmojo import naive
from kmem.models.bmojo.attention import BMojoAttention
from kmem.models.bmojo.priority import positions
from kmem.models.bmojo.rope import rotate
from kmem.models.bmojo.state import State
from tests.models.bmojo.shapes import STORES, model, rotation

LENGTH = 50
EXACT = [
    *(pytest.param({"variant": name}, id=name) for name in ("bmojo", "bmojo_f", "swa", "swa_wide", "random_m", "oldest_m")),
    *(pytest.param(more, id=name) for name, more in STORES.items() if "retrieved" not in name),
    pytest.param({"eidetic": None, "retrieve_above": 8, "retrieve": 64}, id="retrieval that covers a growing store"),
    pytest.param({"eidetic": 20, "retrieve_above": 8, "retrieve": 20}, id="retrieval that covers a bounded store"),
    pytest.param({"eidetic": 20, "retrieve_above": 8, "retrieve": 20, "reach": 6}, id="retrieval within reach"),
]


def layer(**changes: Any) -> BMojoAttention:
    mixer = model(**changes).model.layers[1].mixer
    assert isinstance(mixer, BMojoAttention)
    return mixer


def mix(mixer: BMojoAttention, given: Tensor, *, goes_on: bool = True) -> tuple[Tensor, State]:
    found: tuple[Tensor, State] = mixer(given, {}, 0, position_embeddings=rotation(mixer, given), goes_on=goes_on)
    return found


def mixed(mixer: BMojoAttention, given: Tensor, *, goes_on: bool = True) -> Tensor:
    return mix(mixer, given, goes_on=goes_on)[0]


def by_masks(mixer: BMojoAttention, given: Tensor) -> Tensor:
    return naive.mix(mixer, given, rotation(mixer, given))


def hidden(length: int = LENGTH, *, rows: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(rows, length, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("changes", EXACT)
@pytest.mark.parametrize("length", [1, 13, LENGTH])
def test_the_layer_equals_masks_over_all_tokens(changes: dict[str, Any], length: int) -> None:
    """Also where nothing comes after, and the last tokens are not taken into state and store."""
    mixer, given = layer(**changes), hidden(length)
    expected = by_masks(mixer, given)
    for goes_on in (True, False):
        torch.testing.assert_close(mixed(mixer, given, goes_on=goes_on), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("changes", EXACT)
def test_gradients_equal_those_through_masks(changes: dict[str, Any]) -> None:
    mixer, gradients = layer(**changes), []
    for path in (by_masks, mixed, partial(mixed, goes_on=False)):
        given = hidden().requires_grad_()
        gradients.append(torch.autograd.grad(path(mixer, given).sin().sum(), [given, *mixer.parameters()]))
    for expected, *paths in zip(*gradients, strict=True):
        for found in paths:
            torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_gradients_reach_every_parameter_and_stored_token() -> None:
    """A token that left the window moves the last output only as a stored one (or through the state, which is off here)."""
    mixer = layer(fading=0)
    given = hidden().requires_grad_()
    output, state = mix(mixer, given)
    (moved,) = torch.autograd.grad(output[0, -1].sum(), given)
    reached = moved[0].abs().sum(-1).nonzero().flatten().tolist()
    assert len(reached) == 5 + 6  # of the last chunk two tokens, of the one before four
    assert reached[-6:] == list(range(LENGTH - 6, LENGTH))
    assert state["eidetic_priority"].shape == (2, 5)

    learner = model()
    learner(input_ids := torch.arange(40)[None], labels=input_ids).loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in learner.parameters())


def test_short_of_a_window_all_parameters_have_gradients() -> None:
    """No token leaves the window, so those of the fading memory are zeros."""
    learner = model().train()
    learner(ids := torch.arange(9)[None], labels=ids).loss.backward()
    assert all(parameter.grad is not None for parameter in learner.parameters())
    assert (learner.model.layers[0].mixer.fading.A_log.grad == 0).all()


def test_b_mojo_f_is_what_was_published() -> None:
    """Query t: keys of tokens [t − w + 1, t] and of read-outs [t − 2w + 1, t − w], one softmax (spec §B2)."""
    mixer, given, width = layer(variant="bmojo_f", fading=None), hidden(), 12
    assert mixer.fading is not None
    attention, read_out = mixer.attention, mixer.fading(given, {})[0]
    query, (own_key, own_value), (faded_key, faded_value) = attention.queries(given), attention.keys(given), attention.keys(read_out)
    query, own_key, faded_key = (rotate(part, *rotation(mixer, given)) for part in (query, own_key, faded_key))
    ahead = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
    seen = torch.cat([(ahead >= 0) & (ahead < width), (ahead >= width) & (ahead < 2 * width)], dim=1)
    pairs = ((own_key, faded_key), (own_value, faded_value))
    key, value = (torch.cat(pair, dim=2).repeat_interleave(2, dim=1) for pair in pairs)
    expected = (query @ key.mT * 8**-0.5).masked_fill(~seen, -torch.inf).softmax(-1) @ value
    torch.testing.assert_close(mixed(mixer, given), attention.merged(expected.transpose(1, 2)), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_store_of_everything_and_no_fading_is_full_attention() -> None:
    full = model(variant="transformer")
    stored = model(eidetic=None, fading=0)
    stored.load_state_dict(full.state_dict())
    ids = torch.arange(48)[None]
    torch.testing.assert_close(stored(ids).logits, full(ids).logits, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_within_reach_nothing_changes_and_farther_keys_stand_at_its_end() -> None:
    """Chunks of 8: the last begins at 48, so nothing is farther than 48; with a reach of 0 all stored keys stand at 48."""
    free, given = layer(fading=0), hidden()
    assert torch.equal(mixed(layer(fading=0, reach=48), given), mixed(free, given))
    near = layer(fading=0, reach=0)
    output, state = mix(near, given)
    assert torch.equal(output[:, :8], mixed(free, given)[:, :8])  # nothing is stored before
    attention, places = near.attention, rotation(near, given)
    query, (plain, value) = rotate(attention.queries(given), *places), attention.keys(given)
    stored = positions(state["eidetic_priority"])
    rows = []
    for row in range(2):
        before = rotate(plain[row, None, :, stored[row]], *(part[:, [48]] for part in places))
        key = torch.cat([before, rotate(plain, *places)[row, None, :, 44:]], dim=2).repeat_interleave(2, dim=1)
        values = torch.cat([value[row, :, stored[row]], value[row, :, 44:]], dim=1)[None].repeat_interleave(2, dim=1)
        rows.append((query[row, None, :, -1:] @ key.mT * attention.scaling).softmax(-1) @ values)
    torch.testing.assert_close(output[:, -1:], attention.merged(torch.cat(rows).transpose(1, 2)), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_what_is_stored_is_recalled_and_what_is_not_is_gone() -> None:
    """One odd token among equal ones, far behind the window: only `bmojo` still sees it; `oldest_m` holds others."""
    plain = hidden(1, rows=1).expand(-1, LENGTH, -1).clone()
    odd = plain.clone()
    odd[:, 11] = hidden(1, rows=1, seed=5)[:, 0]
    for variant, recalls in (("bmojo", True), ("oldest_m", False), ("swa_wide", False)):
        mixer = layer(variant=variant, fading=0)
        difference = (mixed(mixer, odd) - mixed(mixer, plain))[0, -1].abs().max()
        assert (difference > 1e-3) == recalls, variant
