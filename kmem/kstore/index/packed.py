"""Linear layers with packed weights: an embedder's time over one query is nearly all matrix products of few rows."""

import torch
from torch import Tensor, nn

FEW_ROWS = 64
"""Rows that the packing is made for: a span's tokens."""
TOLERANCE = 1e-5
"""How far a packed layer may lie from the plain one, as a share of its largest output: float32 added up in another order."""


class PackedLinear(nn.Module):
    """A float32 linear layer, [*, in] → [*, out], whose weights lie in oneDNN's blocked order. For inference alone."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self._bias = None if plain.bias is None else plain.bias.detach()
        self._weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(plain.weight.detach(), FEW_ROWS)

    def forward(self, rows: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, "none", [], "")
        return product


def pack(model: nn.Module) -> int:
    """Pack the model's linear layers in place, each only where it can be → how many were. Its `state_dict` lacks their weights then.

    The operators are torch's own, for its compiler, and not public: a torch without them, or in which they give other products,
    keeps the plain layers.
    """
    count = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and _packs(child):
                setattr(parent, name, PackedLinear(child))
                count += 1
    return count


@torch.inference_mode()
def _packs(plain: nn.Linear) -> bool:
    if plain.weight.dtype != torch.float32 or plain.weight.device.type != "cpu":
        return False
    rows = torch.linspace(-1, 1, 3 * plain.in_features).reshape(3, -1)
    expected = plain(rows)
    try:
        difference = PackedLinear(plain)(rows) - expected
    except (AttributeError, RuntimeError):  # no such operator, or not with these arguments, or not on this processor
        return False
    return bool(difference.abs().max() <= TOLERANCE * expected.abs().max())
