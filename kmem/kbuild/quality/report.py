"""What a scorer was trained on, and what scores look like over many texts."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem import __version__
from kmem.document import Document
from kmem.figures import save, subplots
from kmem.kbuild.quality.scorer import BATCH, Scorer

BINS = 20
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def provenance(labelled: Path, figures: dict[str, Any], command: str) -> dict[str, Any]:
    """The figures with what makes them again: the file's digest, the command, the version of kmem; and licences where rows name them."""
    data = labelled.read_bytes()
    rows = [json.loads(line) for line in data.split(b"\n") if line.strip()]
    licences = {row["source"]: str(row["licence"]) for row in rows if row.get("source") and "licence" in row}
    file = {"file": labelled.name, "sha256": hashlib.sha256(data).hexdigest()}
    return {"labelled": file, "licences": licences, "command": command, "kmem": __version__, **figures}


def scored(documents: Iterable[Document], scorer: Scorer) -> Iterator[tuple[Document, float]]:
    """Every document with its score, in order; a batch at a time is held."""
    waiting = iter(documents)
    while batch := list(islice(waiting, BATCH)):
        yield from zip(batch, scorer.score([document.text for document in batch]).tolist(), strict=True)


def summary(scores: Sequence[float]) -> dict[str, Any]:
    """`documents`, `mean`, `quantiles` and `histogram`, whose counts are of bins of equal width from 0 to 1."""
    values = np.array(scores, dtype=np.float64)
    return {
        "documents": len(values),
        "mean": float(values.mean()) if len(values) else None,
        "quantiles": {f"{part:g}": float(np.quantile(values, part)) for part in QUANTILES} if len(values) else {},
        "histogram": histogram(values).tolist(),
    }


def histogram(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """[BINS] counts of scores [N] between 0 and 1."""
    counts: NDArray[np.int64] = np.histogram(scores, bins=BINS, range=(0.0, 1.0))[0]
    return counts


def draw_scores(scores: Sequence[float], path: Path, *, title: str) -> None:
    """The histogram, and the share of texts below each score. Raises ConfigError unless the path ends in .png."""
    values = np.sort(np.array(scores, dtype=np.float64))
    figure, axes = subplots(7.0, 4.0)
    axes.bar(np.arange(BINS) / BINS, histogram(values), width=1 / BINS, align="edge", color="tab:blue", edgecolor="white")
    axes.set_xlabel("score")
    axes.set_ylabel("texts")
    axes.set_title(title, fontsize=9, parse_math=False)
    below = axes.twinx()
    below.plot(values, np.arange(1, len(values) + 1) / max(1, len(values)), color="tab:red")
    below.set_ylabel("share of texts up to this score", color="tab:red")
    below.set_ylim(0, 1.02)
    axes.set_xlim(0, 1)
    save(figure, path)
