"""What a reference costs against how often it is used: a line each for text, memory and parameters."""

from pathlib import Path

import numpy as np

from kmem.figures import save, subplots
from kmem.plan.choice import HOMES, Choice
from kmem.plan.hardware import TERA

COLORS = {"text": "tab:blue", "memory": "tab:red", "parameters": "tab:green"}
ROOM, POINTS = 1000, 400
"""Left of the first break-even and right of the last; points of a curve."""
ROUND_FROM = 100


def draw_choice(costs: Choice, path: Path) -> None:
    """Both axes logarithmic, the break-evens marked. Raises ConfigError for an ending other than .png."""
    figure, axes = subplots(7.0, 4.5)
    uses = np.geomspace(costs.borders[0][0] / ROOM, costs.borders[-1][0] * ROOM, POINTS)
    for each in HOMES:
        axes.plot(uses, [costs.cost(each).total(count) / TERA for count in uses], color=COLORS[each], label=each)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for mark, home in costs.borders:
        cost = costs.cost(home).total(mark) / TERA
        axes.axvline(mark, color="black", linewidth=0.8, linestyle=":")
        axes.plot([mark], [cost], "o", color="black", markersize=5)
        words = f"{home} from {mark:.3g} uses" if mark < ROUND_FROM else f"{home} from {mark:,.0f} uses"
        axes.annotate(words, (mark, cost), xytext=(6, -14), textcoords="offset points", fontsize=8)
    axes.set_ylim(costs.memory.write / TERA / ROOM, costs.parameters.write / TERA * ROOM)
    axes.set_xlabel("uses of a reference")
    axes.set_ylabel("TFLOP of writing it once and reading it each time")
    axes.legend()
    axes.grid(alpha=0.3)
    save(figure, path)
