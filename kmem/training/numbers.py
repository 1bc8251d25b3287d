"""What a JSON file holds where numbers are expected: the number, or a ValueError that says what is there instead."""

import math
from collections.abc import Mapping
from typing import Any

Table = list[list[float]]


def count(value: Any, name: str, *, most: int) -> int:
    """A whole number from 0 to `most`."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 0 to {most}, not {value!r:.40}")
    return value


def number(value: Any, name: str) -> float:
    """A finite number."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, not {value!r:.40}")
    return float(value)


def positive(value: Any, name: str) -> float:
    """A finite number above 0."""
    if number(value, name) <= 0:
        raise ValueError(f"{name} must be above 0, not {value!r:.40}")
    return float(value)


def numbers(value: Any, name: str) -> list[float]:
    """A list of finite numbers."""
    if type(value) is not list:
        raise ValueError(f"{name} must be a list of numbers, not {value!r:.40}")
    return [number(entry, name) for entry in value]


def table(value: Any, name: str, shape: tuple[int, int]) -> Table:
    """[L, H] finite numbers."""
    rows = [numbers(row, name) for row in value] if type(value) is list else []
    if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
        raise ValueError(f"{name} must be a table of {shape[0]} × {shape[1]} numbers, not {value!r:.40}")
    return rows


def by_size(value: Any, name: str, sizes: tuple[int, ...], *, least: int) -> Mapping[str, Any]:
    """An object whose keys are sizes, the first `least` of them at least."""
    if type(value) is not dict or not set(value) <= set(map(str, sizes)) or not set(map(str, sizes[:least])) <= set(value):
        raise ValueError(f"{name} must be an object with the sizes {', '.join(map(str, sizes))}, not {value!r:.40}")
    return value
