"""Perplexity against the length that is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmem.figures import save, subplots


def draw_perplexity(figures: Mapping[str, Any], path: Path) -> None:
    """A line a model; the length that was trained on is the first."""
    figure, axes = subplots(6.0, 4.0)
    for name, report in figures["models"].items():
        found = report["perplexity"]
        axes.plot([int(length) for length in found], list(found.values()), "o-", label=f"{name}, {report['parameters']:,} parameters")
    axes.axvline(figures["recipe"]["training"]["tokens"], color="tab:gray", linewidth=0.8, linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis(lambda value, _: f"{value:g}")
    axes.set_xlabel("tokens read at a time; dotted: in training")
    axes.set_ylabel("perplexity of held-out documents")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    save(figure, path)
