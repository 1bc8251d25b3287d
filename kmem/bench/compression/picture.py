"""Bytes a memory against what is left of it."""

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmem.figures import panels, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KIB = 1024
ERRORS = {"key_error": ("keys", "tab:blue"), "value_error": ("values", "tab:green"), "attention_error": ("attention's output", "tab:red")}
LEFT = ("axes fraction", "data")
SIDE = 0.17
UNDER = 1.6
"""Above the grid, below the curves."""
Row = tuple[str, Mapping[str, Any]]


def draw_quantisers(figures: Mapping[str, Any], path: Path) -> None:
    """Two curves over the quantisers, smallest first: share of the text's gain, with the lower end of its 95% interval, and errors.

    Quantisers of one size share a label. Where the text gains nothing, there is no share to draw.
    """
    rows = sorted(figures["quantisers"].items(), key=lambda named: (named[1]["record_bytes"], named[1]["attention_error"]))
    figure, (above, below) = panels(7.0, 7.0, 2)
    _draw_shares(above, [row for row in rows if row[1]["share_of_text_gain"] is not None], figures["settings"]["within"])
    for key, (label, color) in ERRORS.items():
        off = [(_size(row), row[key]) for _, row in rows if row[key] > 0]
        below.plot(*zip(*off, strict=True), "o-", color=color, label=label)
    below.set_xscale("log", base=2)
    below.set_yscale("log")
    below.yaxis.set_major_formatter(lambda value, _: f"{value:.4%}".rstrip("0%").rstrip(".") + "%")
    below.set_ylabel("relative error")
    below.set_xlabel("KiB a memory")
    below.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    below.margins(x=SIDE)
    below.legend()
    below.grid(alpha=0.3)
    save(figure, path)


def _draw_shares(axes: "Axes", rows: list[Row], within: float) -> None:
    for _, row in rows:
        low = row["share_of_text_gain"] if row["low95"] is None else row["low95"]
        axes.errorbar(_size(row), row["share_of_text_gain"], yerr=[[row["share_of_text_gain"] - low], [0]], color="tab:red", capsize=3)
    axes.plot([_size(row) for _, row in rows], [row["share_of_text_gain"] for _, row in rows], "o-", color="tab:red")
    for size, alike in groupby(rows, key=lambda named: _size(named[1])):
        same = list(alike)
        lowest = min(row["share_of_text_gain"] if row["low95"] is None else row["low95"] for _, row in same)
        words = axes.annotate(_label(same), (size, lowest), xytext=(0, -6), textcoords="offset points", ha="center", va="top", fontsize=9)
        words.set(parse_math=False, bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}, zorder=UNDER)
    for name, row in rows:
        if name == "fp16":
            bar = row["share_of_text_gain"] - within
            axes.axhline(bar, color="tab:gray", linewidth=0.8, linestyle="--", zorder=1)
            axes.annotate(
                f"fp16's share less {100 * within:g} points",
                (0.02, bar),
                xycoords=LEFT,
                xytext=(0, 2),
                textcoords="offset points",
                fontsize=8,
            )
    axes.axhline(1.0, color="black", linewidth=0.8, linestyle=":", zorder=1)
    axes.annotate("the text in the prompt", (0.02, 1.0), xycoords=LEFT, xytext=(0, 2), textcoords="offset points", fontsize=8)
    axes.margins(x=SIDE, y=0.25)
    axes.set_ylabel("share of the text's gain")
    axes.grid(alpha=0.3)


def _label(rows: list[Row]) -> str:
    """Names of quantisers of one size, what each keeps (once where that is the same), how much smaller or larger than fp16 they are."""
    names = ", ".join(name for name, _ in rows)
    shares = ", ".join(dict.fromkeys(f"{row['share_of_text_gain']:.1%}" for _, row in rows))
    ratio = rows[0][1]["ratio"]
    return f"{names}\n{shares}" + (f"\n{ratio:.3g}× smaller" if ratio > 1 else f"\n{1 / ratio:.3g}× larger" if ratio < 1 else "")


def _size(row: Mapping[str, Any]) -> float:
    return float(row["record_bytes"] / KIB)
