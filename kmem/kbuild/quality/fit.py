"""Ridge-penalised logistic regression by L-BFGS, with targets anywhere between 0 and 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from kmem.kbuild.quality.features import Matrix

ITERATIONS = 200

Numbers = NDArray[np.float64]


def fit(matrix: Matrix, targets: Numbers, penalty: float) -> Numbers:
    """matrix: [N, F], targets: [N] → [F + 1], the bias last: the least mean cross-entropy plus penalty / 2 · |weights|², bias free."""
    rows = len(targets)

    def objective(weights: Numbers) -> tuple[float, Numbers]:
        logits = matrix @ weights[:-1] + weights[-1]
        error = sigmoid(logits) - targets
        gradient = np.append(matrix.T @ error / rows + penalty * weights[:-1], error.mean())
        return cross_entropy(targets, logits) + penalty / 2 * float(weights[:-1] @ weights[:-1]), gradient

    start = np.zeros(matrix.shape[1] + 1)
    found: Numbers = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}).x
    return found


def calibrate(targets: Numbers, logits: Numbers) -> tuple[float, float]:
    """Slope and shift that make the logits' logistic curve fit targets they were not trained on (Platt); the slope stays positive."""
    slope, shift = fit(logits[:, None].astype(np.float32), targets, 1.0 / len(targets) ** 2)
    return max(float(slope), 1.0 / len(targets)), float(shift)


def cross_entropy(targets: Numbers, logits: Numbers) -> float:
    """Mean over rows, nats."""
    return float((np.logaddexp(0, logits) - targets * logits).mean())


def sigmoid(logits: Any) -> Numbers:
    """The logistic curve, without overflow."""
    curve: Numbers = 0.5 * (1 + np.tanh(np.asarray(logits, dtype=np.float64) / 2))
    return curve
