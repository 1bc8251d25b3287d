"""Bytes against share: what a benchmark of memories looks like."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmem.figures import save, subplots

KIB = 1024
SELECTED = ("uniform8_", "budget_")


def draw_shares(figures: Mapping[str, Any], path: Path) -> None:
    """One point a profile or selector: bytes a memory (log) against its share of the text's gain, with the 95% interval's lower end."""
    figure, axes = subplots(7.0, 4.5)
    for name, size in figures["bytes_per_memory"].items():
        share, low = figures["share_of_text_gain"][name], figures["low95"][name]
        minor = name.startswith(SELECTED)
        color = "tab:gray" if minor else "tab:red" if name.startswith("profile") else "tab:blue"
        axes.errorbar(size / KIB, share, yerr=[[share - low], [0]], fmt="o", color=color, markersize=4 if minor else 7, capsize=3)
        axes.annotate(name.replace("_", " "), (size / KIB, share), xytext=(7, -3), textcoords="offset points", fontsize=7 if minor else 9)
    axes.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    axes.annotate("the text in the prompt", (0.02, 1.01), xycoords=("axes fraction", "data"), fontsize=8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("KiB a memory (float16)")
    axes.set_ylabel("share of the text's gain")
    axes.margins(x=0.18, y=0.08)
    axes.grid(alpha=0.3)
    save(figure, path)
