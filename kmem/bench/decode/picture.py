"""Tokens per second of every side: what a benchmark of decoding looks like."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmem.figures import save, subplots

COLORS = {"none": "tab:gray", "memory_ram": "tab:red", "memory_disk": "tab:orange", "memory_cold": "gold", "text": "tab:blue"}
NAMES = {
    "none": "nothing",
    "memory_ram": "memories, in RAM",
    "memory_disk": "memories, on a warm disk",
    "memory_cold": "memories, on a cold disk",
    "text": "the texts in the prompt",
}
WIDTH_A_CELL, HEIGHT = 2.6, 4.0


def draw_speeds(figures: Mapping[str, Any], path: Path) -> None:
    """A group a cell, a bar a side: tokens per second, with the time to the first token written on it."""
    cells = figures["cells"]
    figure, axes = subplots(max(6.0, WIDTH_A_CELL * len(cells)), HEIGHT)
    labelled: set[str] = set()
    for group, cell in enumerate(cells.values()):
        width = 0.8 / len(cell["sides"])
        for place, (name, side) in enumerate(cell["sides"].items()):
            x = group - 0.4 + width * (place + 0.5)
            axes.bar(x, side["tokens_per_s"], width * 0.95, color=COLORS[name], label=None if name in labelled else NAMES[name])
            labelled.add(name)
            axes.annotate(f"{side['first_token_s']:.2g} s", (x, side["tokens_per_s"]), ha="center", va="bottom", fontsize=7)
    titles = [f"batch {cell['batch']}, {cell['new_tokens']} out" for cell in cells.values()]
    axes.set_xticks(range(len(cells)), titles)
    axes.set_ylabel("tokens/s, prompt and retrieval included")
    axes.set_title(f"{figures['settings']['prompt_tokens']} tokens in; on the bars: seconds to the first token", fontsize=9)
    axes.margins(y=0.12)
    axes.legend(fontsize=8)
    axes.grid(axis="y", alpha=0.3)
    save(figure, path)
