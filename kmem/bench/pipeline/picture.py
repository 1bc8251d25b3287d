"""Rates of the stages beside each other, and the cost of a chunk against how many there are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from kmem.figures import save


def draw_pipeline(figures: Mapping[str, Any], path: Path) -> None:
    """A bar a stage on a logarithmic axis, all together in red; a point a size. Raises ConfigError for an ending other than .png."""
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    bars, line = figure.subplots(1, 2, width_ratios=(3, 2))
    rates = {**figures["mb_per_s_core"], "read to chunk": figures["clean_mb_per_s_core"]}
    names = list(rates)[::-1]
    bars.barh(names, [rates[name] for name in names], color=["tab:red" if name == "read to chunk" else "tab:blue" for name in names])
    for name in names:
        bars.annotate(f" {rates[name]:.1f}", (rates[name], name), va="center", fontsize=8)
    bars.set_xscale("log")
    bars.set_xlabel("MB of text a second, one core")
    bars.margins(x=0.15)
    sizes = {int(size): cost for size, cost in figures["ms_per_chunk"].items()}
    line.plot(list(sizes), list(sizes.values()), "o-")
    line.set_xscale("log")
    line.set_ylim(0, 1.2 * max(sizes.values()))
    line.set_xlabel("chunks")
    line.set_ylabel("ms a chunk")
    line.grid(alpha=0.3)
    save(figure, path)
