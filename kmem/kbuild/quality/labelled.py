"""Labelled lines: `{"text": …, "label": …}`, with `source` where whole sources are to be held out."""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.errors import ConfigError, SourceError
from kmem.identity import content_id

HIGHEST_GRADE = 5.0
"""Memory³'s grades end there (§7)."""
LEAST_ROWS = 40


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """texts [N]; targets [N] between 0 and 1; sources [N], empty strings where the file names none. `highest`: the label that is 1."""

    texts: list[str]
    targets: NDArray[np.float64]
    sources: list[str]
    highest: float

    @property
    def ids(self) -> NDArray[np.int64]:
        """[N] of the texts' content: the same text is never on both sides of a split."""
        return np.array([content_id(text) for text in self.texts], dtype=np.int64)


def read_labelled(path: Path, highest: float | None = None) -> Labelled:
    """The rows of a JSON lines file. highest: the label that means 1; default 1 where no label is above it, else 5.

    Raises SourceError naming the line, and ConfigError for too few rows or labels all alike.
    """
    if highest is not None and not 0 < highest < math.inf:
        raise ConfigError(f"highest is {highest}; give the label that means 1, a positive number.")
    numbered = {number: _row(path, number, line) for number, line in enumerate(_lines(path), 1) if line.strip()}
    rows = list(numbered.values())
    if len(rows) < LEAST_ROWS:
        raise ConfigError(f"{path} has {len(rows)} labelled rows, too few to learn from and to measure on: give at least {LEAST_ROWS}.")
    labels = np.array([label for _, label, _ in rows])
    top = highest or (1.0 if labels.max() <= 1 else HIGHEST_GRADE)
    if labels.min() < 0 or labels.max() > top:
        line, wrong = next((number, label) for number, (_, label, _) in numbered.items() if not 0 <= label <= top)
        raise ConfigError(f"{path}, line {line} has the label {wrong:g}; labels lie between 0 and {top:g} (--highest says otherwise).")
    if (labels > top / 2).all() or (labels <= top / 2).all():
        side = "above" if labels[0] > top / 2 else "at or below"
        raise ConfigError(f"{path} has one class only: all {len(rows)} labels are {side} {top / 2:g}; give examples of both kinds.")
    return Labelled(texts=[text for text, _, _ in rows], targets=labels / top, sources=[source for _, _, source in rows], highest=top)


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except OSError as error:
        raise SourceError(f"{path} can't be read ({error.strerror}): check the path and its permissions.") from error


def _row(path: Path, number: int, line: bytes) -> tuple[str, float, str]:
    place = f"{path}, line {number}"
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{place} is not JSON in UTF-8 ({error}): write one object a line.") from error
    if not isinstance(row, dict):
        raise SourceError(f'{place} is not a JSON object: write {{"text": "…", "label": 1}}.')
    text, source = row.get("text"), row.get("source", "")
    if not isinstance(text, str) or not text.strip():
        raise SourceError(f"{place} has no text: field 'text' must be a string that is not empty, not {json.dumps(text)[:40]}.")
    if not isinstance(source, str):
        raise SourceError(f"{place}: field 'source' must be a string, not {json.dumps(source)[:40]}.")
    for name, value in (("text", text), ("source", source)):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(value[error.start]):04x}"
            raise SourceError(f"{place}: field '{name}' has half a character ({half}), which is no Unicode; leave the row out.") from None
    return text, _label(place, row), source


def _label(place: str, row: dict[str, Any]) -> float:
    if "label" not in row:
        raise SourceError(f"{place} has no field 'label' (it has {', '.join(map(repr, row))}): give every row one, 0 or 1, or a grade.")
    label = row["label"]
    if not isinstance(label, int | float) or not abs(label) < math.inf or abs(label) > sys.float_info.max:
        raise SourceError(f"{place}: field 'label' must be a finite number, not {json.dumps(label)[:40]}.")
    return float(label)
