"""Medians and tails of timed reads, and what they come to."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MILLISECONDS = 1e3
GIGABYTE = 1e9

Times = Mapping[str, Sequence[float]]
"""Seconds of each read of each side."""


def summary(times: Times, read_bytes: int) -> dict[str, dict[str, float]]:
    """p50 and p99 in milliseconds, and GB/s at the median, of each side."""
    return {
        name: {
            "p50_ms": round(MILLISECONDS * p50(seconds), 4),
            "p99_ms": round(MILLISECONDS * float(np.percentile(seconds, 99)), 4),
            "gb_per_s": round(read_bytes / p50(seconds) / GIGABYTE, 3),
        }
        for name, seconds in times.items()
    }


def p50(seconds: Sequence[float]) -> float:
    return float(np.median(seconds))


def ratios(wanted: Mapping[str, tuple[str, str]], times: Times) -> dict[str, Any]:
    """By key, p50 of the first side over p50 of the second, for the keys both of whose sides were timed."""
    return {
        key: round(p50(times[over]) / p50(times[under]), 3) for key, (over, under) in wanted.items() if over in times and under in times
    }


def paired(wanted: Mapping[str, tuple[str, str]], times: Times) -> dict[str, float]:
    """By key, the median over all turns of the first side's time over the second side's of the same turn."""
    return {key: round(float(np.median(np.divide(times[over], times[under]))), 3) for key, (over, under) in wanted.items()}
