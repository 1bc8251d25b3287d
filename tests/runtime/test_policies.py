"""The rule of each policy on a handful of tokens, and of what stays at a firing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kmem.errors import ConfigError, UnknownNameError, WrongTypeError
from kmem.kernels.attention_columns import Rows
from kmem.models.namm.checkpoint import save_namm
from kmem.models.namm.scorer import Namm
from kmem.runtime.managed.kept import kept
from kmem.runtime.policies import H2O, L2, POLICIES, Full, NammPolicy, Policy, Recency, Tokens, policy_of
from tests.runtime.managing import CONFIG, choosy


def tokens_of(*, places: int = 12, missing: int = 0, budget: int | None = 6, width: int = 1) -> Tokens:
    """Two heads; the second lacks its first `missing` tokens."""
    generator = torch.Generator().manual_seed(0)
    position = torch.arange(places).repeat(1, 2, 1)
    position[0, 1, :missing] = -1
    return Tokens(
        layer=0,
        layers=1,
        key=torch.randn(1, 2, places, 4, generator=generator),
        position=position,
        real=position >= 0,
        statistics=torch.rand(1, 2, places, width, generator=generator),
        end=places,
        budget=budget,
    )


def stays(policy: Policy, tokens: Tokens, *, prompt: int = 0, greediest: bool = False) -> list[list[int]]:
    found = kept(policy, tokens, prompt=prompt, greediest=greediest)[0]
    return [head.nonzero()[:, 0].tolist() for head in found]


def scored(scores: Tensor, **fields: object) -> Policy:
    """A policy that says just that, with a threshold and the newest token protected unless told otherwise."""

    class Scored(Full):
        def scores(self, tokens: Tokens) -> Tensor:
            return scores

    return Scored(**{"delay": 16, "protect": 1, "decides": True, **fields})  # type: ignore[arg-type]


def test_recency_keeps_sinks_and_the_newest() -> None:
    assert stays(Recency(sinks=2, protect=1), tokens_of()) == [[0, 1, 8, 9, 10, 11]] * 2
    assert stays(Recency(sinks=0, protect=1), tokens_of(missing=3)) == [[6, 7, 8, 9, 10, 11]] * 2


def test_l2_keeps_small_keys() -> None:
    tokens = tokens_of()
    norms = tokens.key.norm(dim=-1)[0]
    expected = [[*sorted(head[:11].argsort()[:5].tolist()), 11] for head in norms]
    assert stays(L2(protect=1), tokens) == expected


def test_h2o_keeps_half_heavy_half_new() -> None:
    tokens = tokens_of()
    expected = [[*sorted(head[:9].argsort(descending=True)[:3].tolist()), 9, 10, 11] for head in tokens.statistics[0, :, :, 0]]
    assert stays(H2O(protect=1), tokens) == expected
    query, key = torch.randn(1, 4, 3, 4), torch.randn(1, 2, 5, 4)
    rows = Rows(query=query, key=key, position=torch.arange(5).expand(1, 2, -1), first=2, scaling=1.0)
    found, known = H2O().read(rows, None, torch.ones(1, 2, 5, 1))
    assert known is None
    torch.testing.assert_close(found.sum(dim=2), torch.full((1, 2, 1), 5.0 + 3.0))


def test_namm_keeps_what_scores_at_least_zero() -> None:
    namm = choosy()
    tokens = tokens_of(places=30, missing=4, budget=None, width=5)
    ages = (29 - tokens.position).masked_fill(~tokens.real, 0)
    scores = namm(namm.features(tokens.statistics, ages), tokens.real)
    expected = tokens.real & ((scores >= 0) | (tokens.position >= 28))
    assert 0 < int(expected.sum()) < int(tokens.real.sum())
    assert torch.equal(kept(NammPolicy(namm), tokens, prompt=0, greediest=False), expected)


def test_budgets_protection_and_ties() -> None:
    scores = torch.tensor([[[5.0, 5, -1, 5, 5, -2, 5, 5], [-1.0, 0, -3, 2, -1, -1, -1, -1]]])
    tokens = tokens_of(places=8, budget=None)
    assert stays(scored(scores), tokens) == [[0, 1, 3, 4, 6, 7], [1, 3, 7]]
    assert stays(scored(scores, protect=3), tokens, prompt=3) == [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 5, 6, 7]]
    assert stays(scored(scores, protect=2), tokens, prompt=6) == [[0, 1, 3, 4, 5, 6, 7], [1, 3, 4, 5, 6, 7]]
    assert stays(scored(scores), replace(tokens, budget=3)) == [[0, 1, 7], [1, 3, 7]]  # of equal scores the older stays
    assert stays(scored(scores, protect=4), replace(tokens, budget=3)) == [[4, 5, 6, 7]] * 2  # protection is not for sale
    assert stays(scored(scores), tokens, greediest=True) == [[0, 1, 3, 4, 6, 7], [0, 1, 3, 4, 5, 7]]
    padded = replace(tokens_of(places=8, missing=5, budget=None))
    assert stays(scored(scores), padded, greediest=True)[1] == [5, 6, 7]


def test_names_paths_and_objects(tmp_path: Path) -> None:
    assert sorted(POLICIES) == ["full", "h2o", "l2", "namm", "recency"]
    for name in ("full", "h2o", "l2", "recency"):
        assert isinstance(policy_of(name), Policy)
    save_namm(choosy(), tmp_path / "a.safetensors")
    for given in (str(tmp_path / "a.safetensors"), tmp_path / "a.safetensors", Namm(CONFIG)):
        policy = policy_of(given)
        assert isinstance(policy, NammPolicy)
        assert policy.delay == 16
    with pytest.raises(UnknownNameError, match=r"Unknown policy 'lru'; there are .*full"):
        policy_of("lru")
    with pytest.raises(WrongTypeError, match="not dict"):
        policy_of({})
    with pytest.raises(ConfigError, match="delay must be at least 1"):
        H2O(delay=0)
