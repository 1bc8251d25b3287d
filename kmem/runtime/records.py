"""Memories between a source and the device."""

from dataclasses import dataclass

from torch import Tensor

from kmem.runtime.schedule import Ids


@dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """n memories on their way.

    stored: [n, *record] as the source's quantiser stores them, until a form makes them ready: then [n, 2, S, width].
    filled: [n, S] whether a slot keeps a token.
    """

    ids: Ids
    stored: Tensor
    filled: Tensor
