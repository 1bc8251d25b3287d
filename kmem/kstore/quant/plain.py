"""Floats as they are: float32, float16, or bfloat16 as its bits in uint16 (Zarr v3 has no bfloat16)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kmem.errors import UnknownNameError
from kmem.kstore.quant.finite import require_finite

_ELEMENTS: dict[str, tuple[torch.dtype, str]] = {
    "fp32": (torch.float32, "<f4"),
    "fp16": (torch.float16, "<f2"),
    "bf16": (torch.bfloat16, "<u2"),
}


@dataclass(frozen=True)
class Plain:
    """One of `fp32`, `fp16`, `bf16`: rounds to nearest, keeps the shape. Raises UnknownNameError for any other name."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in _ELEMENTS:
            raise UnknownNameError("plain quantiser", self.name, list(_ELEMENTS))

    @property
    def element(self) -> str:
        return str(self._dtype).removeprefix("torch.")

    @property
    def _dtype(self) -> torch.dtype:
        return _ELEMENTS[self.name][0]

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name}

    def tensors(self) -> Mapping[str, Tensor]:
        return {}

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Plain":
        return cls(name=str(config["name"]))

    def record_shape(self, slots: int, head_dim: int) -> tuple[int, ...]:
        """`(2, S, D)`."""
        return (2, slots, head_dim)

    def record_dtype(self) -> np.dtype[Any]:
        return np.dtype(_ELEMENTS[self.name][1])

    def encode(self, kv: Tensor) -> NDArray[Any]:
        """kv: [n, 2, S, D] → records of that shape.

        Raises ConfigError for NaN, infinity, and magnitudes past the type's largest number (65504 for fp16).
        """
        kv = kv.detach().cpu()
        stored = kv.to(self._dtype).contiguous()
        if kv.numel() and not all(end.isfinite() for end in stored.aminmax()):  # a NaN is both ends; far cheaper than asking each number
            require_finite(kv, self.name, torch.finfo(self._dtype).max)
        return stored.view(torch.uint8).numpy().view(self.record_dtype()).reshape(kv.shape)

    def decode(self, records: NDArray[Any]) -> Tensor:
        """Records of shape [n, 2, S, D] → kv of that shape and this element type, sharing their memory."""
        return torch.from_numpy(records).view(self._dtype)
