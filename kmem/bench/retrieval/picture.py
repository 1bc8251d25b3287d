"""Recall of every retriever on every corpus: what a benchmark of retrieval looks like."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmem.figures import save, subplots

COLORS = ("tab:blue", "tab:gray", "tab:red", "tab:green", "tab:orange", "tab:purple", "tab:brown", "tab:pink")
WIDTH_A_BAR, LEAST_WIDTH, HEIGHT = 0.5, 7.0, 4.2


def draw_recall(figures: Mapping[str, Any], path: Path) -> None:
    """A group a corpus, a bar a retriever: recall@5, a tick at recall@1, and above it the milliseconds of embedding and searching."""
    groups = {**figures["corpora"], **figures.get("harder", {})}
    names = list(dict.fromkeys(name for found in groups.values() for name in found["retrievers"]))
    figure, axes = subplots(max(LEAST_WIDTH, WIDTH_A_BAR * sum(len(found["retrievers"]) + 1 for found in groups.values())), HEIGHT)
    labelled: set[str] = set()
    for group, found in enumerate(groups.values()):
        width = 0.85 / len(found["retrievers"])
        for place, (name, row) in enumerate(found["retrievers"].items()):
            x = group - 0.425 + width * (place + 0.5)
            label = "_nolegend_" if name in labelled else name
            axes.bar(x, row["recall@5"], width * 0.95, color=COLORS[names.index(name) % len(COLORS)], label=label)
            axes.hlines(row["recall@1"], x - width / 2.2, x + width / 2.2, color="black", linewidth=1)
            axes.annotate(
                f"{row['embed_p50_ms'] + row['search_p50_ms']:.1f} ms",
                (x, row["recall@5"]),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=6,
                rotation=90,
            )
            labelled.add(name)
    titles = [f"{name.removeprefix('corpus:')}\n{found['rows']:,} chunks" for name, found in groups.items()]
    axes.set_xticks(range(len(groups)), titles, parse_math=False)
    axes.set_ylabel("recall@5 (line: recall@1)")
    axes.set_ylim(0, 1.18)
    axes.legend(fontsize=8, ncols=3, loc="lower center")
    axes.grid(axis="y", alpha=0.3)
    save(figure, path)
