"""Time of a token and memory of a text against its length."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmem.figures import panels, save

COLORS = {"bmojo": "tab:red", "transformer": "tab:blue"}
MIB = 1 << 20


def draw_cost(figures: Mapping[str, Any], path: Path) -> None:
    """Above microseconds a token, below MiB: what is held after the text (solid), and the most while it is read (dashed)."""
    figure, (above, below) = panels(6.5, 6.5, 2)
    for name, color in COLORS.items():
        costs = figures["us_per_token"][name]
        above.plot([int(length) for length in costs], list(costs.values()), "o-", color=color, label=name)
        for key, style, said in (("state_bytes", "o-", "held"), ("peak_bytes", "o--", "at most")):
            sizes = figures[key][name]
            below.plot(
                [int(length) for length in sizes], [size / MIB for size in sizes.values()], style, color=color, label=f"{name}, {said}"
            )
    for axes, label in ((above, "µs a token"), (below, "MiB, without weights")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    below.set_xlabel("tokens of the text")
    below.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    save(figure, path)
