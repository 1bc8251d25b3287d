"""What a build did, at a glance: how long its chunks are, what was left out and why, how fast each stage was."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from kmem.figures import DOTS_AN_INCH

PICTURE = "build/stats.png"
MOST_REASONS = 15


def draw_build(stages: Mapping[str, Mapping[str, Any]], lengths: Sequence[int], span_tokens: int) -> bytes:
    """A PNG. stages: as `Stats.to_dict` has them. lengths: how many chunks have 0, 1, 2 … tokens."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 9.0), layout="constrained")
    long, lost, fast = figure.subplots(3)
    long.bar(range(len(lengths)), lengths, width=1.0, color="tab:blue")
    long.set_xlim(0, max(span_tokens, len(lengths)) + 1)
    long.set_xlabel("tokens of a chunk")
    long.set_ylabel("chunks")
    reasons = sorted(
        (
            (f"{stage}: {reason}", count)
            for stage, done in stages.items()
            for kind in ("dropped", "rejected")
            for reason, count in done[kind].items()
        ),
        key=lambda named: -named[1],
    )[:MOST_REASONS]
    lost.barh([name for name, _ in reversed(reasons)], [count for _, count in reversed(reasons)], color="tab:red")
    lost.set_xlabel("dropped or rejected" if reasons else "nothing was dropped or rejected")
    rates = [(f"{stage} ({done['unit']})", done["in"] / done["worker_seconds"]) for stage, done in stages.items() if done["worker_seconds"]]
    fast.barh([name for name, _ in reversed(rates)], [rate for _, rate in reversed(rates)], color="tab:green")
    fast.set_xscale("log")
    fast.set_xlabel("a second of one worker")
    for axes in (long, lost, fast):
        axes.grid(alpha=0.3)
    png = BytesIO()
    figure.savefig(png, dpi=DOTS_AN_INCH, format="png")
    return png.getvalue()
