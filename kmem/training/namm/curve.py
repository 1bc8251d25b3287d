"""Fitness, score and size of the cache against generations."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from kmem.figures import panels, save


def draw_curve(curve: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Above: score as a share of the full cache's, of the mean on its generation's prompts and on the judges'; below: the cache kept."""
    figure, (scores, sizes) = panels(7.0, 5.5, 2)
    made, judged, at = [], [], 0
    for line in curve:
        if "judged" in line:
            judged.append((at, line["judged"]))
        else:
            at += 1
            made.append((at, line["mean"], line["members"], line["stage"]))
    scores.plot([at for at, *_ in made], [mean["score_of_full"] for _, mean, *_ in made], color="tab:gray", label="mean, its prompts")
    scores.plot([at for at, *_ in made], [members["best"] for _, _, members, _ in made], ":", color="tab:gray", label="fittest member")
    scores.plot([at for at, _ in judged], [found["score_of_full"] for _, found in judged], "o-", color="tab:red", label="mean, judges")
    sizes.plot([at for at, *_ in made], [mean["cache_fraction"] for _, mean, *_ in made], color="tab:gray")
    sizes.plot([at for at, _ in judged], [found["cache_fraction"] for _, found in judged], "o-", color="tab:red")
    for before, after in pairwise(made):
        if before[3] != after[3]:
            for axes in (scores, sizes):
                axes.axvline(after[0] - 0.5, color="tab:gray", linewidth=0.8, linestyle=":")
    scores.set_ylabel("score / full cache's")
    sizes.set_ylabel("share of the cache kept")
    sizes.set_xlabel("generation; dotted: another task is taken up")
    for axes in (scores, sizes):
        axes.grid(alpha=0.3)
    scores.legend(fontsize=8)
    save(figure, path)
