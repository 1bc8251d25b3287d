"""Two retrievers on the same questions: how far apart they are, and how sure that is."""

from collections.abc import Sequence

import numpy as np

Z95 = 1.96


def paired(first: Sequence[bool], second: Sequence[bool]) -> dict[str, float]:
    """Whether each question was answered → `difference` of the two shares, its 95% interval `low95` to `high95`, and how many questions
    only the first (`wins`) and only the second (`losses`) answered.

    The interval is Bonett and Price's (2012) for paired proportions, which holds where next to no question tells the two apart.
    """
    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    wins, losses, count = int((one & ~other).sum()), int((~one & other).sum()), len(one)
    more, less = (wins + 1) / (count + 2), (losses + 1) / (count + 2)
    reach = Z95 * float(np.sqrt((more + less - (more - less) ** 2) / (count + 2)))
    return {
        "difference": (wins - losses) / count,
        "low95": max(-1.0, more - less - reach),
        "high95": min(1.0, more - less + reach),
        "wins": wins,
        "losses": losses,
    }
