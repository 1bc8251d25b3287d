"""Score against size of the cache: a line a policy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmem.figures import save, subplots

COLOURS = {"recency": "tab:gray", "h2o": "tab:blue", "l2": "tab:green", "namm": "tab:red"}


def draw_sizes(figures: Mapping[str, Any], path: Path) -> None:
    """Small points: asked for a share; large ones: at the size that the NAMM chose."""
    figure, axes = subplots(6.5, 4.5)
    for name, colour in COLOURS.items():
        points = sorted((point["cache_fraction"], point["score"]) for point in figures["by_size"][name])
        axes.plot([size for size, _ in points], [score for _, score in points], "o-", color=colour, markersize=3, linewidth=1)
        axes.plot(figures["cache_fraction"][name], figures["score"][name], "o", color=colour, markersize=8, label=name)
    axes.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    axes.set_xlabel("share of the cache kept")
    axes.set_ylabel("score / full cache's")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save(figure, path)
