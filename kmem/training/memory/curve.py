"""The curve of a run: a JSON object a line, and a picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kmem.figures import panels, save
from kmem.written import whole_text

LINES, PICTURE = "curve.jsonl", "curve.png"


def write_curve(curve: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Replace the lines."""
    with whole_text(folder / LINES) as file:
        file.writelines(json.dumps(line) + "\n" for line in curve)


def draw_curve(curve: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Above: held-out passages with memories, without, and with the text in the prompt; below: the loss of each step."""
    figure, (judged, trained) = panels(7.0, 5.5, 2)
    looks = [(line["step"], line["judged"]) for line in curve if "judged" in line]
    steps = [line for line in curve if "judged" not in line]
    for name, label, style in (
        ("memories", "with memories", "o-"),
        ("without", "without", "o-"),
        ("text", "text in the prompt, untrained", ":"),
        ("nothing", "nothing, untrained", ":"),
    ):
        judged.plot([at for at, _ in looks], [found[name] for _, found in looks], style, label=label)
    for name in ("loss", "distillation", "next_token", "text"):
        own = [(line["step"], line[name]) for line in steps if name in line]
        if own:
            trained.plot(*zip(*own, strict=True), linewidth=0.8, label=name.replace("_", " "))
    over = [(line["step"], line["loss"]) for line in steps if "passed_over" in line]
    if over:
        trained.plot(*zip(*over, strict=True), "x", color="tab:red", label="passed over")
    judged.set_ylabel("held out, nats a token")
    trained.set_ylabel("training, nats a token")
    trained.set_xlabel("step")
    for axes in (judged, trained):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    save(figure, path)
