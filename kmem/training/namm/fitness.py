"""What a member is worth: its score as a share of the full cache's, less what it keeps too much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kmem.training.namm.recipe import SizeConfig

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of P members on one recorded prompt: score [P], share [P] of its cache that each kept; full: the full cache's score."""

    task: str
    score: Values
    share: Values
    full: float


def normalised(outcomes: Sequence[Outcome]) -> Values:
    """[P] mean over tasks of (mean score over prompts / mean score of the full cache over the same prompts); 1 = as the full cache."""
    ratios = []
    for own in by_task(outcomes).values():
        full = sum(outcome.full for outcome in own)
        ratios.append(np.sum([outcome.score for outcome in own], axis=0) / full)
    found: Values = np.mean(ratios, axis=0)
    return found


def kept_share(outcomes: Sequence[Outcome]) -> Values:
    """[P] mean over prompts."""
    found: Values = np.mean([outcome.share for outcome in outcomes], axis=0)
    return found


def fitness(outcomes: Sequence[Outcome], size: SizeConfig) -> Values:
    """[P]: `normalised`, less `weight` for each `share` that a member keeps beyond the first."""
    beyond = np.maximum(0.0, kept_share(outcomes) / size.share - 1)
    found: Values = normalised(outcomes) - size.weight * beyond
    return found


def by_task(outcomes: Sequence[Outcome]) -> Mapping[str, list[Outcome]]:
    """In the order in which tasks come up."""
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.task, []).append(outcome)
    return found
