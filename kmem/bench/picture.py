"""Bytes against share: what a benchmark of memories looks like."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmem.figures import save, subplots

KIB = 1024
SELECTED = ("uniform8_", "budget_")
LABEL_GAP, LABEL_SHIFT = 0.03, 1.08


def draw_shares(figures: Mapping[str, Any], path: Path) -> None:
    """One point a profile or selector that has a share: bytes a memory (log) against its share, with the 95% interval's lower end."""
    figure, axes = subplots(7.0, 4.5)
    for name, size in figures["bytes_per_memory"].items():
        share, low = figures["share_of_text_gain"][name], figures["low95"][name]
        if share is None:
            continue
        minor = name.startswith(SELECTED)
        color = "tab:gray" if minor else "tab:red" if name in figures["settings"]["profiles"] else "tab:blue"
        below = 0 if low is None else share - low
        axes.errorbar(size / KIB, share, yerr=[[below], [0]], fmt="o", color=color, markersize=4 if minor else 7, capsize=3)
    for name, x, y, side in _label_places(figures):
        size = 7 if name.startswith(SELECTED) else 9
        share = figures["share_of_text_gain"][name]
        axes.annotate(f"{name.replace('_', ' ')}  {share:.0%}", (x, y), va="center", ha=side, fontsize=size, parse_math=False)
    axes.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    axes.annotate("the text in the prompt", (0.02, 1.01), xycoords=("axes fraction", "data"), fontsize=8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("KiB a memory (float16)")
    axes.set_ylabel("share of the text's gain")
    axes.margins(x=0.22, y=0.08)
    axes.set_ylim(bottom=-0.05)
    axes.grid(alpha=0.3)
    save(figure, path)


def _label_places(figures: Mapping[str, Any]) -> list[tuple[str, float, float, str]]:
    """(name, KiB, share, alignment) at which to write each name: above a point that is alone at its size, else right of it, moved down
    where it would cover the one above.
    """
    places: list[tuple[str, float, float, str]] = []
    lowest: dict[int, float] = {}
    sizes = figures["bytes_per_memory"]
    shares = {name: share for name in sizes if (share := figures["share_of_text_gain"][name]) is not None}
    for name in sorted(shares, key=lambda name: -shares[name]):
        if sum(sizes[other] == sizes[name] for other in shares) == 1:
            places.append((name, sizes[name] / KIB, shares[name] + 1.5 * LABEL_GAP, "center"))
            continue
        y = lowest[sizes[name]] = min(shares[name], lowest.get(sizes[name], 2.0) - LABEL_GAP)
        places.append((name, sizes[name] / KIB * LABEL_SHIFT, y, "left"))
    return places
