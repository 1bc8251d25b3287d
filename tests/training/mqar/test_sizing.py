"""Each variant holds as many bytes as bmojo, or the least beyond; recipes are read."""

from pathlib import Path

import pytest

from kmem.errors import ConfigError, UnknownNameError
from kmem.training.mqar.recipe import SHIPPED, Recipe, checked, recipe_of
from kmem.training.mqar.sizing import config_of, farthest_reach, held_bytes, sizes_of, sure_reach
from kmem.training.variants import VARIANTS
from tests.training.mqar.tiny import recipe

UNITS = {"swa": 2 * 64, "ssm": 4 * (32 + 3 * 2), "hybrid": 4 * (32 + 3 * 2), "bmojo_f": 2 * 3 * 64}
"""Bytes of one step of a size: a chunk's two keys and values; a channel of the state and of its convolution; keys of window and fading."""


def test_bytes_of_bmojo_by_hand() -> None:
    """Window 4, fading 4 and 12 stored, of a key and a value of 8 floats; 16 numbers of state a channel … and priorities of 8 bytes."""
    held = held_bytes(recipe())
    assert held["eidetic"] == 12 * (2 * 8 * 4 + 8)
    assert held["window"] == 4 * (2 * 8 * 4 + 8)
    assert held["state"] == 4 * (3 * 16 + 32 * 2 + 3 * (32 + 2 * 2) + 4 * 16)  # conv, state, the state's conv, four tokens to predict from


@pytest.mark.parametrize("variant", list(UNITS))
def test_controls_hold_no_less_and_hardly_more(variant: str) -> None:
    budget, held = (sum(held_bytes(recipe(name)).values()) for name in ("bmojo", variant))
    assert budget <= held < budget + UNITS[variant]


def test_reaches() -> None:
    assert (sure_reach(recipe()), farthest_reach(recipe())) == (2, 8)
    assert (sure_reach(recipe("swa_wide")), farthest_reach(recipe("swa_wide"))) == (14, 16)
    assert sure_reach(recipe("ssm")) == sure_reach(recipe("transformer")) == 2
    assert sizes_of(recipe("swa")).window == farthest_reach(recipe("swa")) == sure_reach(recipe("swa")) + 2
    assert farthest_reach(recipe("bmojo_f")) == 2 * sizes_of(recipe("bmojo_f")).window
    assert [name for name in VARIANTS if len(config_of(recipe(name)).mixers) == 3] == ["hybrid"]


def test_recipes() -> None:
    assert checked(recipe_of("scattered")) == Recipe()
    for name in SHIPPED:
        assert checked(recipe_of(name)).task.layout == name
    assert checked(recipe().to_dict()) == recipe()


def test_recipes_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        recipe_of(str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match=r"no option task.pair; did you mean task.pairs"):
        checked({"task": {"pair": 3}})
    with pytest.raises(UnknownNameError, match="'bmoj'"):
        checked({"variant": "bmoj"})
    with pytest.raises(ConfigError, match="beyond the task's 8 pairs"):
        checked({"task": {"pairs": 8}})
    with pytest.raises(ConfigError, match="steps must be at least 1"):
        checked({"training": {"steps": 0}})
    with pytest.raises(ConfigError, match="seed must be at least 0"):
        checked({"seed": -1})
