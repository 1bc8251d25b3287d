"""What a quantiser is."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Quantiser(Protocol):
    """A frozen dataclass that turns `kv: [n, 2, S, D]` into n records of equal shape and back.

    `to_dict()` goes into the manifest and `tensors()` into a file beside it; the two are all that decoding needs. A record never
    loses its scale, and a value that can't be represented raises ConfigError: nothing wraps, nothing turns infinite unseen.
    """

    @property
    def name(self) -> str:
        """Registry key, and the value of `--quantiser`."""
        ...

    @property
    def element(self) -> str:
        """Element type of a record, also where numpy has none (bfloat16, kept as uint16)."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """JSON configuration, `name` included."""
        ...

    def tensors(self) -> Mapping[str, Tensor]:
        """What was trained (codebooks, rotations), empty where nothing is."""
        ...

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Quantiser":
        """The quantiser of a `to_dict()` and `tensors()`."""
        ...

    def record_shape(self, slots: int, head_dim: int) -> tuple[int, ...]:
        """Shape of one memory on disk, without the leading N."""
        ...

    def record_dtype(self) -> np.dtype[Any]:
        """Little-endian numpy type of a record's elements."""
        ...

    def encode(self, kv: Tensor) -> NDArray[Any]:
        """kv: [n, 2, S, D] → records [n, *record_shape]. Raises ConfigError naming a value out of range."""
        ...

    def decode(self, records: NDArray[Any]) -> Tensor:
        """Records [n, *record_shape] → kv: [n, 2, S, D], which may share their memory."""
        ...
