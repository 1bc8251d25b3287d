"""Bytes against share: what a benchmark of memories looks like."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmem.figures import save, subplots

KIB = 1024
SELECTED = ("uniform8_", "budget_")


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
        label, at = name.replace("_", " "), (size / KIB, share)
        axes.annotate(label, at, xytext=(7, -3), textcoords="offset points", fontsize=7 if minor else 9, parse_math=False)
    axes.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    axes.annotate("the text in the prompt", (0.02, 1.01), xycoords=("axes fraction", "data"), fontsize=8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("KiB a memory (float16)")
    axes.set_ylabel("share of the text's gain")
    axes.margins(x=0.18, y=0.08)
    axes.grid(alpha=0.3)
    save(figure, path)
