"""What policies that look at no attention have in common."""

from torch import Tensor

from kmem.kernels.attention_columns import Rows
from kmem.runtime.policies.protocol import NOTHING, Watch


class Unwatched:
    """Reads nothing and keeps no numbers."""

    @property
    def watch(self) -> Watch:
        return NOTHING

    def read(self, rows: Rows, known: Tensor | None, statistics: Tensor) -> tuple[Tensor, Tensor | None]:
        """Nothing changes."""
        return statistics, None

    def skip(self, statistics: Tensor, tokens: int) -> Tensor:
        """Nothing changes."""
        return statistics
