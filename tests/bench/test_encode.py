"""The benchmark of encoding on a tiny model: every figure comes out of real runs, and operations are counted as the formula has them."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from kmem.bench.encode import work
from kmem.bench.encode.config import EncodeConfig
from kmem.bench.encode.measure import ASKED, first_references, measure_encode, padded_tokens
from kmem.bench.encode.naive import attend_plainly
from kmem.bench.encode.work import executed_flops, matmul_rates, matmul_sizes
from kmem.encoder.encode import Encoder
from kmem.encoder.presets import PRESETS
from kmem.encoder.profiles import load_profile
from kmem.encoder.seeded import preset_tokenizer, seeded_model
from kmem.errors import ConfigError, SourceNotFoundError
from kmem.profile import Profile
from tests.tiny import byte_tokenizer, tiny_model


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    for number in range(9):
        (tmp_path / f"{number}.txt").write_text(f"Sentence {number} of a page. " * (number + 1))
    return str(tmp_path)


def test_operations_are_those_of_the_formula() -> None:
    """Memory³ App. A's write cost, with what is really run: whole products for the last layer's projections, none after them."""
    name, batch, tokens = "memory3-tiny", 3, 50
    shape, model, tokenizer = PRESETS[name], seeded_model("memory3-tiny"), preset_tokenizer("memory3-tiny")
    profile = load_profile("auto", layers=shape.layers, heads=shape.heads)
    encoder = Encoder(model, tokenizer, profile)
    found = executed_flops(lambda: encoder.encode_tokens([list(range(tokens))] * batch, list(range(batch))))
    memory_layers, width = profile.last_layer + 1, shape.width
    fed = batch * (tokens + len(encoder.bracket.prefix))
    projections = width * (shape.query_heads + 2 * shape.heads) * shape.head_dim
    after = width**2 + 3 * width * shape.mlp_width
    linear = 2 * fed * (memory_layers * projections + (memory_layers - 1) * after)
    causal = 2 * fed * (fed // batch) * width * (memory_layers - 1)
    chosen = 2 * batch * shape.query_heads * memory_layers * (tokens**2 * shape.head_dim + tokens**2)
    assert found.linear == linear
    assert found.total == linear + causal + chosen


def test_what_is_not_needed_is_not_multiplied() -> None:
    """A head without a budget is not scored."""
    model, tokenizer = tiny_model(), byte_tokenizer()
    both, one = (
        executed_flops(partial(Encoder(model, tokenizer, profile).encode, ["some text"])).total
        for profile in (load_profile("uniform8", layers=4, heads=2), _half())
    )
    assert both > one


def _half() -> Profile:
    return Profile(name="half", budget=((8, 0),) * 4)


def test_every_figure_is_there(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "SQUARES", (512,))  # 4096 takes seconds, three times a round
    seen: list[int] = []
    model = tiny_model()
    figures = measure_encode(
        model,
        byte_tokenizer(),
        EncodeConfig(corpus=corpus, chunks=5, rounds=2, batch_size=2),
        progress=lambda stage, done, total: seen.append(done),
    )
    assert seen == [0, 1, 2]
    assert model.config._attn_implementation == "sdpa"
    assert set(ASKED) <= set(figures)
    assert figures["over_naive"] == pytest.approx(
        sum(naive / ours for naive, ours in zip(figures["seconds"]["naive"], figures["seconds"]["kmem"], strict=True)) / 2, rel=0.05
    )
    assert 0 < figures["share_of_peak"] < 1
    assert figures["work_over_naive"] > 1  # padding, and what comes after the last layer with a budget
    left = figures["left_out"]
    assert (left["layers"], left["layers_run"]) == (4, 4)
    assert left["tokens_naive"] >= left["tokens_fed"] > figures["settings"]["tokens"]
    assert sum(figures["time_shares"].values()) == pytest.approx(1, abs=0.001)
    assert all(share > 0 for share in figures["time_shares"].values())
    assert figures["peak_size"] in figures["peak_gflop_per_s"]
    assert set(figures["chunks_per_s"]) == {"kmem", "naive", "naive_sorted"}
    assert figures["settings"]["chunks"] == 5
    json.dumps(figures, allow_nan=False)


def test_the_plain_forward_gives_its_attention() -> None:
    assert attend_plainly(tiny_model(), [[1, 2, 3], [4], [5, 6]], 2) == 2 * 4


def test_padding_is_counted() -> None:
    assert padded_tokens([[1, 2, 3], [4], [5, 6]], 2) == 2 * 3 + 2
    assert padded_tokens([], 2) == 0


def test_the_peak_is_of_squares_and_of_the_models_shapes() -> None:
    sizes = matmul_sizes(96, 32, 48, device=torch.device("cpu"))
    assert {"512×512×512", "96×32×48", "96×48×32"} <= set(sizes)
    rates = matmul_rates({"a": (8, 8, 8), "b": (64, 64, 64)}, dtype=torch.float32, device=torch.device("cpu"))
    assert rates["b"] > rates["a"] > 0


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chunks must be at least 1, not 0"):
        EncodeConfig(chunks=0)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(SourceNotFoundError, match="gave no text to encode"):
        first_references(byte_tokenizer(), EncodeConfig(corpus=str(tmp_path)))
