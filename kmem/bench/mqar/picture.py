"""Two panels: recall by how far back a pair lies, and by how many tokens a layer stores."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from kmem.figures import beside, save

COLORS = {
    "bmojo": "tab:red",
    "bmojo_f": "tab:orange",
    "random_m": "tab:gray",
    "oldest_m": "black",
    "ssm": "tab:blue",
    "swa": "tab:green",
    "swa_wide": "tab:olive",
    "hybrid": "tab:purple",
    "transformer": "tab:brown",
}
WIDTH, HEIGHT = 11.0, 4.4


def draw_recall(figures: Mapping[str, Any], path: Path) -> None:
    """One line a variant; a dotted one where it was not trained enough to be evidence."""
    figure, (left, right) = beside(WIDTH, HEIGHT, 2)
    edges = figures["by_distance"]["edges"]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    for variant in figures["accuracy"]:
        size = figures["held_bytes"][variant]["total"] / 1024
        style = "-" if figures["trained_enough"][variant] else ":"
        shares = figures["by_distance"][variant]
        left.plot(middles, shares, style, marker=".", color=COLORS[variant], label=f"{variant} ({size:.0f} KiB)")
    outside = figures["settings"]["outside_from"]
    left.axvline(outside, color="black", linewidth=0.8, linestyle="--")
    left.annotate("outside every window", (outside, 1.02), xytext=(3, 0), textcoords="offset points", fontsize=8)
    left.set_xlabel("tokens from a query back to its value")
    for variant, sizes in figures["store"]["accuracy"].items():
        right.plot([int(size) for size in sizes], list(sizes.values()), marker="o", color=COLORS[variant], label=variant)
    right.axvline(figures["settings"]["model"]["eidetic"], color="black", linewidth=0.8, linestyle="--")
    right.set_xlabel("tokens that the layer stores, M (dashed: trained with)")
    right.set_title("outside every window", fontsize=9)
    for axes in (left, right):
        axes.set_ylabel("recall")
        axes.set_ylim(-0.03, 1.1)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8, loc="best")
    save(figure, path)
