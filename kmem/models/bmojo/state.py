"""What a layer remembers between calls: named tensors whose first dimension is the batch."""

from torch import Tensor

State = dict[str, Tensor]
"""Empty before the first token."""


def cut(part: Tensor, first: int) -> Tensor:
    """From index `first` of dimension −2 on, as numbers of its own: a view would keep all that stood before."""
    return part[..., first:, :].clone()
