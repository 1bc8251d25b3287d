"""Core hours of a corpus's texts, from what a benchmark measured."""

import json
from pathlib import Path

import pytest

from kmem.encoder.presets import MEMORY3_REFERENCES
from kmem.errors import ConfigError
from kmem.plan.texts import TextCost, text_cost

MEASURED = {"ms_per_chunk": {"1000": 0.5, "10000": 0.4, "100000": 0.36}, "cost_growth": 1.1, "clean_mb_per_s_core": 4.0}


def written(folder: Path, figures: object) -> str:
    (folder / "pipeline.json").write_text(json.dumps(figures))
    return str(folder / "pipeline.json")


def test_the_largest_size_counts_and_the_last_step_s_growth_goes_on(tmp_path: Path) -> None:
    cost = text_cost(written(tmp_path, MEASURED))
    assert cost == TextCost(chunks=100_000, before=10_000, ms=0.36, growth=1.1, mb_per_s_core=4.0)
    hours = cost.hours(10_000_000)
    assert hours["core_h"] == pytest.approx(1.0)
    assert hours["grown_core_h"] == pytest.approx(1.1**2)
    assert cost.hours(MEMORY3_REFERENCES)["core_h"] == pytest.approx(MEMORY3_REFERENCES * 1e-7)


def test_no_cost_shrinks_and_small_corpora_have_the_measured_one() -> None:
    shrinking = TextCost(chunks=1000, before=100, ms=3.6, growth=0.9, mb_per_s_core=1.0)
    assert shrinking.hours(10**6)["grown_core_h"] == shrinking.hours(10**6)["core_h"] == pytest.approx(1.0)
    growing = TextCost(chunks=1000, before=100, ms=3.6, growth=2.0, mb_per_s_core=1.0)
    assert growing.hours(10)["grown_core_h"] == growing.hours(10)["core_h"]


@pytest.mark.parametrize(
    "figures", [{}, [], {**MEASURED, "ms_per_chunk": {"1000": 0.4}}, {**MEASURED, "cost_growth": "much"}, {**MEASURED, "cost_growth": 0}]
)
def test_other_files_are_refused(tmp_path: Path, figures: object) -> None:
    with pytest.raises(ConfigError, match=r"pipeline\.json holds no figures of kmem bench pipeline .* --json"):
        text_cost(written(tmp_path, figures))
    with pytest.raises(ConfigError, match="can't be read"):
        text_cost(str(tmp_path / "gone.json"))
