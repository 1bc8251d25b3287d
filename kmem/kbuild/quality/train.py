"""Labelled rows → a scorer. Labels are shares of the highest, so that grades and yes or no need one rule."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.errors import ConfigError
from kmem.identity import content_id
from kmem.kbuild.quality.features import EMBEDDING, FORM, Features, FeaturesConfig, Matrix, TextEmbedder
from kmem.kbuild.quality.fit import Numbers, calibrate, cross_entropy, fit, sigmoid
from kmem.kbuild.quality.labelled import Labelled
from kmem.kbuild.quality.measure import agreement
from kmem.kbuild.quality.scorer import Scorer
from kmem.progress import Progress, silent

TEST_PART = 5
"""Every fifth text, by the hash of its content, is never trained on nor chosen by."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """`penalties` are tried by cross-validation in `folds`, whole sources together where rows name them.

    least_sources: an n-gram seen in fewer sources says only which source a text is from, and gets no weight; without sources all count.
    """

    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    penalties: tuple[float, ...] = (1e-3, 3e-4, 1e-4, 3e-5)
    folds: int = 8
    least_sources: int = 3

    def __post_init__(self) -> None:
        if not self.penalties or min(self.penalties) <= 0:
            raise ConfigError(f"penalties are {self.penalties}; give positive numbers.")
        if self.folds < 2 or self.least_sources < 1:
            raise ConfigError(f"folds is {self.folds} and least_sources {self.least_sources}; give at least 2 and 1.")


def train(
    rows: Labelled, config: TrainConfig, *, name: str, embedder: TextEmbedder | None = None, progress: Progress = silent
) -> tuple[Scorer, dict[str, Any]]:
    """The scorer and its figures, which its provenance repeats; penalty and calibration are chosen in the folds.

    `held_out`: the fifth of the rows, by hash, that nothing was chosen or learnt from. `folds`: every other row, judged by weights
    learnt without its fold, which holds its whole source where rows name sources. `by_source`: the same, a source and label.
    Deterministic on one machine. Raises ConfigError where a split leaves one class.
    """
    test = rows.ids % TEST_PART == 0
    progress("features", 0, 1)
    matrix = Features(config.features, embedder).matrix(rows.texts)
    progress("features", 1, 1)
    sources = np.array(rows.sources, dtype=object)
    learning = _Learning(matrix[~test], rows.targets[~test], sources[~test], rows.ids[~test], config)
    for part in (test, ~test):
        if len(set(rows.targets[part] > 0.5)) < 2:
            raise ConfigError(f"Of {len(test)} rows, {part.sum()} are put aside together and have one class only: give more rows.")
    tried: list[tuple[float, float, Numbers]] = []
    for penalty in config.penalties:
        progress("folds", len(tried), len(config.penalties))
        logits = learning.unseen(penalty)
        tried.append((cross_entropy(learning.targets, logits), penalty, logits))
    progress("folds", len(tried), len(tried))
    _, penalty, logits = min(tried, key=lambda one: one[0])
    slope, shift = calibrate(learning.targets, logits)
    learnt = learning.fit(np.ones(len(logits), dtype=bool), penalty)
    weights, bias = (learnt[:-1] * slope).astype(np.float16).astype(np.float32), float(learnt[-1] * slope + shift)
    unseen = sigmoid(logits * slope + shift)
    figures = {
        "held_out": agreement(rows.targets[test], sigmoid(matrix[test] @ weights.astype(np.float64) + bias)),
        "folds": agreement(learning.targets, unseen),
        "by_source": _by_source(learning, unseen),
        "penalty": penalty,
        "tried": {f"{one:g}": loss for loss, one, _ in tried},
        "rows": len(test),
        "highest_label": rows.highest,
    }
    used = embedder if config.features.kind == EMBEDDING else None
    return Scorer(name=name, config=config.features, weights=weights, bias=bias, embedder=used, provenance=figures), figures


@dataclass(frozen=True, eq=False)
class _Learning:
    """What may be learnt from: matrix [N, F], targets [N], sources [N], ids [N]."""

    matrix: Matrix
    targets: Numbers
    sources: NDArray[np.object_]
    ids: NDArray[np.int64]
    config: TrainConfig

    def unseen(self, penalty: float) -> Numbers:
        """[N] logits, each by weights that were learnt without the row's fold."""
        logits = np.zeros(len(self.targets))
        for fold in np.unique(self.folds):
            here = self.folds == fold
            weights = self.fit(~here, penalty)
            logits[here] = self.matrix[here] @ weights[:-1] + weights[-1]
        return logits

    def fit(self, rows: NDArray[np.bool_], penalty: float) -> Numbers:
        """[F + 1] weights and bias from these rows; columns seen in too few of their sources weigh nothing."""
        matrix, columns = self.matrix[rows], np.flatnonzero(self._spread(rows))
        found = fit(matrix[:, columns], self.targets[rows], penalty)
        weights = np.zeros(matrix.shape[1] + 1)
        weights[columns], weights[-1] = found[:-1], found[-1]
        return weights

    def _spread(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """[F]: whether a column is not zero in enough sources; with fewer sources than that, in any row."""
        names = sorted(set(self.sources[rows]))
        least = self.config.least_sources if len(names) > self.config.least_sources else 1
        seen = np.zeros(self.matrix.shape[1], dtype=np.int64)
        for name in names:
            seen += np.asarray(abs(self.matrix[rows & (self.sources == name)]).sum(axis=0)).ravel() > 0
        seen[-len(FORM) :] = least
        return seen >= least

    @cached_property
    def folds(self) -> NDArray[np.int64]:
        """[N] the fold of each row: by its source, or without sources by its content."""
        keys = [content_id(source) if source else int(row) // TEST_PART for source, row in zip(self.sources, self.ids, strict=True)]
        places = {key: place for place, key in enumerate(sorted(set(keys)))}
        return np.array([places[key] % self.config.folds for key in keys])


def _by_source(learning: _Learning, scores: Numbers) -> dict[str, Any]:
    """`{source: {label's side: {rows, accuracy, mean_score}}}`."""
    found: dict[str, Any] = {}
    for source in sorted(filter(None, set(learning.sources))):
        for side, above in (("high", True), ("low", False)):
            here = (learning.sources == source) & ((learning.targets > 0.5) == above)
            if here.any():
                right = float(((scores[here] > 0.5) == above).mean())
                found.setdefault(source, {})[side] = {"rows": int(here.sum()), "accuracy": right, "mean_score": float(scores[here].mean())}
    return found
