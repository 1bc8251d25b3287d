"""Linear layers with packed weights: an embedder's time over one query is nearly all matrix products of few rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn

FEW_ROWS = 64
"""Rows that the packing is made for: a span's tokens."""
TOLERANCE = 1e-5
"""How far a packed layer may lie from the plain one, as a share of its largest output: float32 added up in another order."""
NARROW_TOLERANCE = 2**-6
"""The same in bfloat16."""


class PackedLinear(nn.Module):
    """A float32 linear layer, [*, in] → [*, out], whose weights lie in oneDNN's blocked order. For inference alone.

    While `narrow` is set it multiplies in bfloat16, with weights that are made when that is first asked.
    """

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.narrow = False
        self._bias = None if plain.bias is None else plain.bias.detach()
        self._weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(plain.weight.detach(), FEW_ROWS)
        self._narrow_parts: tuple[Tensor, Tensor | None] | None = None

    def forward(self, rows: Tensor) -> Tensor:
        if self.narrow:
            return _product(rows.bfloat16(), *self._narrowed()).to(rows.dtype)
        return _product(rows, self._weight, self._bias)

    def _narrowed(self) -> tuple[Tensor, Tensor | None]:
        if self._narrow_parts is None:
            weight = torch.ops.mkldnn._reorder_linear_weight(self._weight.to_dense().bfloat16(), FEW_ROWS)
            self._narrow_parts = weight, None if self._bias is None else self._bias.bfloat16()
        return self._narrow_parts


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return product


@contextmanager
def narrowed(model: nn.Module) -> Iterator[None]:
    """Have the packed layers multiply in bfloat16, on a processor that does so natively; on others nothing changes.

    For one thread at a time.
    """
    layers = [module for module in model.modules() if isinstance(module, PackedLinear)] if _narrows() else []
    try:
        for layer in layers:
            layer.narrow = True
        yield
    finally:
        for layer in layers:
            layer.narrow = False


@cache
@torch.inference_mode()
def _narrows() -> bool:
    """Whether bfloat16 is native here, and its products are what they should be."""
    native = (getattr(torch.cpu, name, bool) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    if not any(supported() for supported in native):
        return False
    with torch.random.fork_rng(devices=[]):  # the caller's seed is the caller's
        plain = nn.Linear(FEW_ROWS, FEW_ROWS)
    rows = torch.linspace(-1, 1, 3 * FEW_ROWS).reshape(3, FEW_ROWS)
    expected = plain(rows)
    try:
        packed = PackedLinear(plain)
        packed.narrow = True
        difference = packed(rows) - expected
    except (AttributeError, RuntimeError):
        return False
    return bool(difference.abs().max() <= NARROW_TOLERANCE * expected.abs().max())


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
