"""The cost of B'MOJO on models of a few numbers: every figure is there, sides are equal, and memory is counted right."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kmem.bench.bmojo.config import BMojoBenchConfig
from kmem.bench.bmojo.measure import clock_of, length_figures, measure_bmojo
from kmem.bench.bmojo.memory import peak_bytes
from kmem.bench.bmojo.picture import draw_cost
from kmem.bench.bmojo.sides import configs
from kmem.bench.pairs import timed
from kmem.errors import ConfigError
from kmem.models.bmojo.equal import equal_to, parameters
from tests.models.bmojo.shapes import SHAPE, config

TINY = BMojoBenchConfig(
    rounds=1, lengths=(32, 128, 160), compared=128, piece=16, read_tokens=64, train_rows=2, train_tokens=24, shape=SHAPE
)


def test_every_figure_is_there_and_memory_stays(tmp_path: Path) -> None:
    figures = measure_bmojo(TINY)
    state = figures["state_bytes"]
    assert state["bmojo"]["32"] == state["bmojo"]["128"] == state["bmojo"]["160"]
    assert list(figures["over_transformer"]) == list(figures["us_per_token"]["transformer"]) == list(state["transformer"]) == ["32", "128"]
    assert state["transformer"]["128"] == 4 * state["transformer"]["32"]
    assert figures["memory_flat"] < 1.3
    assert all(figures[key] > 0 for key in ("cost_flat", "train_step_over_hybrid", "train_step_over_transformer"))
    assert "over_transformer_8k" not in figures
    draw_cost(figures, tmp_path / "cost.png")
    assert (tmp_path / "cost.png").stat().st_size > 1000


def test_figures_are_ratios_within_a_round() -> None:
    seconds = {
        ("bmojo", 1024): [1.0, 2.0, 4.0],
        ("bmojo", 8192): [8.8, 17.6, 35.2],
        ("transformer", 1024): [1.0, 1.0, 1.0],
        ("transformer", 8192): [26.4, 70.4, 140.8],
        ("transformer_equal_layers", 8192): [17.6, 35.2, 35.2],
    }
    figures = length_figures(seconds, (1024, 8192))
    assert figures["cost_flat"] == pytest.approx(1.1)
    assert figures["over_transformer_8k"] == pytest.approx(4.0)
    assert figures["over_transformer_equal_layers_8k"] == pytest.approx(2.0)
    assert figures["us_per_token"]["bmojo"]["1024"] == pytest.approx(2e6 / 1024, rel=1e-4)


def test_of_one_thread_the_processors_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In which a machine that is busy otherwise makes nothing slower."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert clock_of(torch.device("cpu")) is time.process_time
    assert timed(lambda: time.sleep(0.2), time.process_time) < 0.1
    assert clock_of(torch.device("cuda")) is time.perf_counter
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert clock_of(torch.device("cpu")) is time.perf_counter


def test_the_most_memory_does_not_depend_on_what_was_read_before() -> None:
    """A text's first masks are kept for the next text, so whoever comes second must not be let off them."""
    figures = [measure_bmojo(replace(TINY, lengths=lengths))["peak_bytes"]["bmojo"] for lengths in ((128, 160), (32, 128, 160))]
    assert figures[0]["160"] == figures[1]["160"]
    assert figures[0]["128"] == figures[1]["128"]


def test_memory_is_what_was_held_at_once() -> None:
    def work() -> None:
        one = torch.empty(1000, dtype=torch.float64)
        two = torch.empty(500, dtype=torch.float64)
        del one, two
        torch.empty(1200, dtype=torch.float64)

    assert peak_bytes(work, torch.device("cpu")) == 12_000


@pytest.mark.parametrize("variant", ["hybrid", "transformer", "ssm", "swa", "bmojo"])
def test_variants_are_made_equal_by_layers_and_then_by_width(variant: str) -> None:
    numbers = parameters(config(num_hidden_layers=4))
    found = equal_to(SHAPE, variant, numbers)
    channel = 3 * found.hidden_size * found.num_hidden_layers
    assert abs(parameters(found) - numbers) <= channel / 2
    assert 0.7 < found.intermediate_size / SHAPE["intermediate_size"] < 1.4
    assert (found.num_hidden_layers == 4) == (variant == "bmojo")


def test_parameters_are_those_of_the_model_that_is_built() -> None:
    from kmem.models.bmojo import BMojoForCausalLM

    built: Any = BMojoForCausalLM(config())
    assert parameters(config()) == sum(part.numel() for part in built.parameters())
    with pytest.raises(ConfigError, match="1 layers of swa in this width have more than 2000 parameters"):
        equal_to(SHAPE, "swa", 2000)


def test_the_wide_hybrid_sees_as_many_keys() -> None:
    made = configs(TINY)
    assert (made["hybrid"].window, made["hybrid_equal_memory"].window) == (12, 12 + 12 + 5)
    layers = {name: own.num_hidden_layers for name, own in made.items()}
    assert (layers["bmojo"], layers["hybrid"], layers["transformer_equal_layers"]) == (2, 4, 2)
    numbers = [parameters(own) for own in made.values()]
    assert max(numbers) < 1.01 * min(numbers)


@pytest.mark.parametrize("wrong", [{"lengths": (64,)}, {"lengths": (64, 32)}, {"rounds": 0}, {"compared": 0}, {"lengths": (0, 5)}])
def test_what_cannot_be_measured_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        BMojoBenchConfig(**wrong)
