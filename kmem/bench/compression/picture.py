"""Bytes a memory against what is left of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmem.figures import save, subplots

KIB = 1024


def draw_quantisers(figures: Mapping[str, Any], path: Path) -> None:
    """A curve over the quantisers, smallest first: share of the text's gain, with the lower end of its 95% interval."""
    rows = sorted(figures["quantisers"].items(), key=lambda named: named[1]["record_bytes"])
    figure, axes = subplots(7.0, 4.5)
    sizes = [row["record_bytes"] / KIB for _, row in rows]
    shares = [row["share_of_text_gain"] for _, row in rows]
    lows = [row["share_of_text_gain"] - row["low95"] for _, row in rows]
    axes.errorbar(sizes, shares, yerr=[lows, [0] * len(rows)], fmt="o-", color="tab:red", capsize=3)
    for (name, row), size, share in zip(rows, sizes, shares, strict=True):
        label = f"{name}\n{row['ratio']:.1f}× fp16"
        axes.annotate(label, (size, share), xytext=(4, -28), textcoords="offset points", fontsize=8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("KiB a memory")
    axes.set_ylabel("share of the text's gain")
    axes.set_ylim(0, 1.05)
    axes.margins(x=0.15)
    axes.grid(alpha=0.3)
    save(figure, path)
