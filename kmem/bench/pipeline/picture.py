"""Rates of the stages on a core, what a second worker process is worth, the cost of a chunk by how many there are, and copies found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kmem.figures import save

_TOGETHER = "read to chunk"


def draw_pipeline(figures: Mapping[str, Any], path: Path) -> None:
    """Four panels, the one of worker processes empty where none were started. Raises ConfigError for an ending other than .png."""
    figure = Figure(figsize=(11.0, 7.0), layout="constrained")
    (stages, workers), (growth, found) = figure.subplots(2, 2)
    _stages(stages, figures)
    if "stages_by_workers" in figures:
        _workers(workers, figures)
    else:
        workers.set_axis_off()
    _growth(growth, figures)
    _found(found, figures)
    save(figure, path)


def _stages(axes: Axes, figures: Mapping[str, Any]) -> None:
    rates = {**figures["mb_per_s_core"], _TOGETHER: figures["clean_mb_per_s_core"]}
    names = list(rates)[::-1]
    axes.barh(names, [rates[name] for name in names], color=["tab:red" if name == _TOGETHER else "tab:blue" for name in names])
    for name in names:
        axes.annotate(f" {rates[name]:.1f}", (rates[name], name), va="center", fontsize=8)
    _limit(axes.axvline, figures["asked"]["clean_mb_per_s_core"])
    axes.set_xscale("log")
    axes.set_xlabel("MB of text a second, one core")
    axes.margins(x=0.15)


def _workers(axes: Axes, figures: Mapping[str, Any]) -> None:
    one, two = (figures["stages_by_workers"][count] for count in ("1", "2"))
    names = [name for name in one if not name.endswith("MB/s")][::-1]
    axes.barh(
        names, [two[name] / one[name] for name in names], color=["tab:red" if name.startswith("encode") else "tab:blue" for name in names]
    )
    for name in names:
        axes.annotate(f" {_rate(one[name])} → {_rate(two[name])}", (two[name] / one[name], name), va="center", fontsize=8)
    _limit(axes.axvline, figures["asked"]["encode_two_over_one"])
    axes.set_xlabel("two worker processes over one")
    axes.margins(x=0.25)


def _growth(axes: Axes, figures: Mapping[str, Any]) -> None:
    sizes = {int(size): cost for size, cost in figures["ms_per_chunk"].items()}
    *_, before, _ = sizes
    axes.plot(list(sizes), list(sizes.values()), "o-")
    _limit(axes.axhline, figures["asked_at_most"]["cost_growth"] * sizes[before])
    axes.set_xscale("log")
    axes.set_ylim(0, 1.4 * max(sizes.values()))
    axes.set_xlabel("chunks of a build with the null encoder")
    axes.set_ylabel("ms a chunk")
    axes.grid(alpha=0.3)


def _found(axes: Axes, figures: Mapping[str, Any]) -> None:
    shares = {"precision": figures["dedup_precision"], "recall": figures["dedup_recall"]}
    shares |= {f"recall: {kind}": recall for kind, recall in figures["recall"].items()}
    names = list(shares)[::-1]
    axes.barh(names, [shares[name] for name in names], color=["tab:blue" if ":" in name else "tab:red" for name in names])
    for name in names:
        axes.annotate(f"{shares[name]:.3f} ", (shares[name], name), va="center", ha="right", fontsize=8, color="white")
    _limit(axes.axvline, figures["asked"]["dedup_recall"])
    axes.set_xlabel("planted copies found")


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _limit(line: Any, value: float) -> None:
    """What was asked for."""
    line(value, color="black", linestyle=":")
