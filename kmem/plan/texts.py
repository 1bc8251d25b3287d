"""What everything in a build but its two models would cost, extrapolated from what `kmem bench pipeline --json` measured."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmem.errors import ConfigError

HOUR_MS = 3_600_000


@dataclass(frozen=True, kw_only=True)
class TextCost:
    """ms: of one core for a chunk in a corpus of `chunks`, from reading to the committed bank, with the null encoder. growth: what a chunk
    cost there over what it cost in one of `before` chunks. mb_per_s_core: of text, from reading to the chunker.
    """

    chunks: int
    before: int
    ms: float
    growth: float
    mb_per_s_core: float

    def hours(self, references: int) -> dict[str, float | int]:
        """Core hours of so many references: `core_h`, were a chunk to cost what it did in the largest corpus measured; `grown_core_h`, were
        its cost to grow on by the same factor with every step as large as the last one measured; and what was measured.
        """
        steps = max(0.0, math.log(references / self.chunks) / math.log(self.chunks / self.before))
        core_h = references * self.ms / HOUR_MS
        return {
            "measured_chunks": self.chunks,
            "ms_per_chunk": self.ms,
            "cost_growth": self.growth,
            "mb_per_s_core": self.mb_per_s_core,
            "core_h": core_h,
            "grown_core_h": core_h * max(1.0, self.growth) ** steps,
        }


def text_cost(file: str) -> TextCost:
    """Of the JSON file that `kmem bench pipeline --json` wrote. Raises ConfigError for any other."""
    try:
        found = json.loads(Path(file).read_text(encoding="utf-8"))
        return _of(found)
    except OSError as error:
        raise ConfigError(f"--pipeline {file} can't be read ({error.strerror}): write it by kmem bench pipeline --json.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"--pipeline {file} holds no figures of kmem bench pipeline ({error!r:.60}): write it by kmem bench pipeline --json."
        raise ConfigError(said) from error


def _of(found: Mapping[str, Any]) -> TextCost:
    sizes = sorted((int(size), float(ms)) for size, ms in found["ms_per_chunk"].items())
    (before, _), (chunks, ms) = sizes[-2:]
    growth, rate = float(found["cost_growth"]), float(found["clean_mb_per_s_core"])
    if not (0 < before < chunks and all(math.isfinite(figure) and figure > 0 for figure in (ms, growth, rate))):
        raise ValueError("a figure is not above 0")
    return TextCost(chunks=chunks, before=before, ms=ms, growth=growth, mb_per_s_core=rate)
