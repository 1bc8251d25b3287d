"""Profiles: budgets as data."""

import json

import pytest

from kmem.encoder.profiles import load_profile, shipped_profiles
from kmem.errors import ConfigError
from kmem.profile import Profile


def test_memory3_is_the_papers_uniform_first_half() -> None:
    profile = load_profile("memory3", layers=44, heads=8)
    assert profile.slots * 80 * 2 * 2 == 440 * 1024  # 440 KiB a reference (spec §3)
    assert profile.last_layer == 21


SHAPES = {"smollm2": (30, 3), "gemma3-270m": (18, 1)}


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profiles_load_and_say_where_they_come_from(name: str) -> None:
    layers, heads = SHAPES[name.rpartition("-")[0]]
    profile = load_profile(name, layers=layers, heads=heads)
    assert profile.name == name
    assert {"model", "corpus", "passages", "objective", "command", "date", "worth"} <= set(profile.provenance)
    assert profile.slots == int(name.rpartition("-")[2])
    best = profile.provenance["worth"][0]
    assert profile.budget[best["layer"]][best["head"]] == max(map(max, profile.budget))


def test_slots_are_ordered_by_layer_head_and_rank() -> None:
    profile = Profile(name="t", budget=((2, 0), (1, 3)))
    assert profile.slot_layer.tolist() == [0, 0, 1, 1, 1, 1]
    assert profile.slot_head.tolist() == [0, 0, 0, 1, 1, 1]
    assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))) == profile


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ((), "non-empty"),
        (((1, 2), (3,)), "equal length"),
        (((-1,),), "-1 at layer 0, head 0"),
        (((1,), (129,)), "129 at layer 1, head 0"),
        (((0, 0),), "no token at all"),
    ],
)
def test_bad_budgets_are_named(budget: tuple[tuple[int, ...], ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Profile(name="bad", budget=budget)


def test_bad_alignment_is_named() -> None:
    with pytest.raises(ConfigError, match="'middle'"):
        Profile(name="bad", budget=((1,),), align="middle")  # type: ignore[arg-type]


@pytest.mark.parametrize("tokens", [8.7, 8.0, "8", True])
def test_a_budget_that_is_no_whole_number_is_refused(tokens: object) -> None:
    with pytest.raises(ConfigError, match=r"at layer 0, head 1 must be a whole number"):
        Profile.from_dict({"name": "x", "budget": [[4, tokens]]})


def test_auto_goes_by_the_shape_of_the_model() -> None:
    assert load_profile("auto", layers=30, heads=3).name == "smollm2-720"
    assert load_profile("auto", layers=4, heads=2).name == "uniform8"
