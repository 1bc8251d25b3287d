"""Token selectors: the contract all share, and each one's own rule."""

import sys
from dataclasses import replace
from functools import cache

import pytest
import torch

from kmem.encoder.select import SELECTORS, LayerView, selector
from kmem.errors import UnknownNameError
from kmem.kernels.attention_columns import Rows, naive
from kmem.models.namm.config import NammConfig
from kmem.models.namm.ema import average_frames
from kmem.models.namm.scorer import Namm, vector, with_vector
from kmem.models.namm.spectrogram import spectrogram
from kmem.runtime.policies import NammPolicy, Tokens


@pytest.fixture(autouse=True)
def _a_namm_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is shipped: the rule is what is tested."""
    monkeypatch.setattr(sys.modules["kmem.encoder.select.namm"], "shipped", any_namm)


@cache
def any_namm() -> Namm:
    namm = Namm(NammConfig(n_fft=8, hop=4, hidden=6, delay=16))
    return with_vector(namm, torch.randn(len(vector(namm)), generator=torch.Generator().manual_seed(0)) * 0.4).requires_grad_(False)


def view(lengths: tuple[int, ...] = (11, 7, 1), *, seed: int = 0, scale: float = 1.0) -> LayerView:
    generator = torch.Generator().manual_seed(seed)
    batch, tokens = len(lengths), max(lengths)

    def states(heads: int) -> torch.Tensor:
        return torch.randn(batch, heads, tokens, 6, generator=generator, dtype=torch.float64) * scale

    valid = torch.arange(tokens) < torch.tensor(lengths)[:, None]
    return LayerView(
        layer=1,
        heads=(0, 1),
        query=states(4),
        key=states(2),
        rotated_query=states(4),
        rotated_key=states(2),
        value=states(2),
        hidden=states(1)[:, 0],
        valid=valid,
        scaling=6**-0.5,
        chunk_ids=(5, 6, 7)[:batch],
    )


@pytest.mark.parametrize("name", SELECTORS)
def test_scores_are_finite_and_ignore_padding(name: str) -> None:
    """What padding holds can't change a score of a real token: it is poisoned with NaN here."""
    clean = view()
    scores = selector(name)(clean)
    assert scores.shape == (3, 2, 11)
    assert scores[clean.valid[:, None].expand_as(scores)].isfinite().all()
    for states in (clean.query, clean.key, clean.rotated_query, clean.rotated_key, clean.value):
        states.masked_fill_(~clean.valid[:, None, :, None], 1e30)
    clean.hidden.masked_fill_(~clean.valid[..., None], 1e30)
    again = selector(name)(clean)
    real = clean.valid[:, None].expand_as(scores)
    torch.testing.assert_close(again[real], scores[real], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SELECTORS)
def test_a_row_does_not_depend_on_its_batch(name: str) -> None:
    together = selector(name)(view())
    clean = view()
    alone = LayerView(
        layer=1,
        heads=(0, 1),
        query=clean.query[1:2, :, :7],
        key=clean.key[1:2, :, :7],
        rotated_query=clean.rotated_query[1:2, :, :7],
        rotated_key=clean.rotated_key[1:2, :, :7],
        value=clean.value[1:2, :, :7],
        hidden=clean.hidden[1:2, :7],
        valid=clean.valid[1:2, :7],
        scaling=clean.scaling,
        chunk_ids=(6,),
    )
    torch.testing.assert_close(selector(name)(alone)[0], together[1, :, :7])


def test_memory3_is_the_papers_formula() -> None:
    clean = view((9,))
    scores = selector("memory3")(clean)
    for head in range(2):
        expected = torch.zeros(9, dtype=torch.float64)
        for query_head in (2 * head, 2 * head + 1):
            logits = clean.query[0, query_head] @ clean.key[0, head].T / 6**0.5
            expected += torch.softmax(logits, dim=-1).sum(0)
        torch.testing.assert_close(scores[0, head], expected)


def test_memory3_exp_ranks_like_the_unshifted_sum() -> None:
    clean = view((9,))
    scores = selector("memory3-exp")(clean)
    logits = torch.einsum("hgid,hjd->hgij", clean.query[0].view(2, 2, 9, 6), clean.key[0]) / 6**0.5
    plain = logits.exp().sum(dim=(1, 2))
    torch.testing.assert_close(scores[0] / scores[0].sum(-1, keepdim=True), plain / plain.sum(-1, keepdim=True))


def test_memory3_exp_does_not_overflow() -> None:
    assert selector("memory3-exp")(view(scale=100.0)).isfinite().all()


def test_first_keeps_the_beginning() -> None:
    assert selector("first")(view())[0, 0].argsort(descending=True).tolist() == list(range(11))


def test_random_depends_on_chunk_and_layer_alone() -> None:
    assert torch.equal(selector("random")(view(seed=1)), selector("random")(view(seed=2)))
    assert not torch.equal(selector("random")(view())[0], selector("random")(view())[1])


@pytest.mark.parametrize("name", SELECTORS)
def test_a_head_is_scored_as_if_others_were_not_looked_at(name: str) -> None:
    clean = view()
    second = replace(
        clean,
        heads=(1,),
        query=clean.query[:, 2:],
        key=clean.key[:, 1:],
        rotated_query=clean.rotated_query[:, 2:],
        rotated_key=clean.rotated_key[:, 1:],
        value=clean.value[:, 1:],
    )
    torch.testing.assert_close(selector(name)(second)[:, 0], selector(name)(clean)[:, 1])


def test_knorm_and_vnorm_are_norms() -> None:
    clean = view((9,))
    assert selector("knorm")(clean)[0, 1].argmax() == (clean.key[0, 1] ** 2).sum(-1).argmin()
    assert selector("vnorm")(clean)[0, 1].argmax() == (clean.value[0, 1] ** 2).sum(-1).argmax()


def test_h2o_accumulates_causal_attention() -> None:
    clean = view((9,))
    scores = selector("h2o")(clean)
    for head in range(2):
        total = torch.zeros(9, dtype=torch.float64)
        for query_head in (2 * head, 2 * head + 1):
            for i in range(9):
                logits = clean.rotated_key[0, head, : i + 1] @ clean.rotated_query[0, query_head, i] / 6**0.5
                total[: i + 1] += torch.softmax(logits, dim=-1)
        torch.testing.assert_close(scores[0, head], total)


def test_expected_is_the_mean_over_gaussian_queries() -> None:
    """The closed form against many queries drawn with the reference's own mean and covariance."""
    clean = view((9,), scale=0.7)
    scores = selector("expected")(clean)
    generator = torch.Generator().manual_seed(3)
    found = torch.zeros(9, dtype=torch.float64)
    for query_head in (0, 1):
        seen = clean.query[0, query_head]
        deviation = (seen - seen.mean(0)) / 9**0.5
        drawn = seen.mean(0) + torch.randn(400_000, 9, generator=generator, dtype=torch.float64) @ deviation
        weights = (drawn @ clean.key[0, 0].T / 6**0.5).exp().mean(0)
        found += weights / weights.sum()
    torch.testing.assert_close(scores[0, 0], found * clean.value[0, 0].norm(dim=-1), rtol=0.02, atol=0)


def test_innovation_is_what_the_average_of_four_tokens_does_not_foretell() -> None:
    """The definition, token by token; heads agree, and a repeated token is no news."""
    clean = view((9,))

    def normed(states: torch.Tensor) -> torch.Tensor:
        return (states - states.mean()) / (states.var(unbiased=False) + 1e-5).sqrt()

    scores = selector("innovation")(clean)
    for position, own in enumerate(clean.hidden[0]):
        before = clean.hidden[0, max(0, position - 4) : position].mean(0) if position else torch.zeros(6, dtype=torch.float64)
        error = (normed(own) - normed(before)).square().mean()
        assert scores[0, 0, position] == scores[0, 1, position] == (1024 * error).round()
    clean.hidden[:, 3:] = clean.hidden[:, 3:4]
    assert selector("innovation")(clean)[0, 0].argsort(descending=True)[:4].sort().values.tolist() == [0, 1, 2, 3]
    assert selector("innovation")(clean)[0, 0, 7:].tolist() == [0, 0]


@pytest.mark.parametrize("length", [8, 9, 11])
def test_namm_scores_a_reference_as_a_text_that_fires_at_its_end(length: int) -> None:
    """The policy's own reading of the same rows, where they are a whole number of hops; else silence follows."""
    clean = view((length,))
    config = any_namm().config
    policy, whole = NammPolicy(any_namm()), -(-length // config.hop) * config.hop
    scores = selector("namm")(clean)
    position = torch.arange(length).expand(1, 2, -1)
    rows = Rows(
        query=torch.nn.functional.pad(clean.rotated_query, (0, 0, config.hop, 0)),
        key=clean.rotated_key,
        position=position,
        first=-config.hop,
        scaling=clean.scaling,
    )
    if length == whole:
        statistics, _ = policy.read(rows, None, torch.zeros(1, 2, length, config.bins, dtype=torch.float64))
    else:
        seen = naive.attention(rows)[0].transpose(-1, -2)
        frames = spectrogram(torch.nn.functional.pad(seen, (0, whole - length)), config.n_fft, config.hop)
        statistics = average_frames(frames, torch.zeros(1, 2, length, config.bins, dtype=torch.float64), policy.frames.decay)
    tokens = Tokens(
        layer=1,
        layers=4,
        key=clean.rotated_key,
        position=position,
        real=position >= 0,
        statistics=policy.of_few(statistics, whole),
        end=length,
        budget=None,
    )
    torch.testing.assert_close(scores, policy.scores(tokens).double(), rtol=1e-5, atol=1e-5)


def test_unknown_selector_lists_the_others() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown selector 'knrm'; there are expected, first, h2o, innovation, knorm, memory3, "):
        selector("knrm")
