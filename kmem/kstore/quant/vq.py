"""Memory³'s vector quantiser (App. B): a key or value of D = 80 becomes 14 bytes, 11.4 times less than float16."""

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kmem.errors import ConfigError, UntrainedQuantiserError
from kmem.kernels.vq_decode import Codebooks, Table, rotated_table, vq_decode
from kmem.kstore.fields import Fields
from kmem.kstore.quant.finite import require_finite
from kmem.kstore.quant.vq_encode import vq_encode

KINDS = ("key", "value")


@dataclass(frozen=True, eq=False)
class Vq:
    """FAISS's `OPQ…,Residual2xb,PQMxB` (see `family.py`), trained by `vq_train.py` for each kind and layer group of one bank.

    bounds: G + 1 slots, 0 to S; group g holds the slots bounds[g] to bounds[g + 1].
    books: codebooks by kind (keys, values), then group; all of one family.
    The error has no bound of its own: what lies far from the memories it was trained on is stored badly. A slot that was empty
    decodes to some vector, which `slot_position` masks. FAISS takes part in neither encoding nor decoding.
    """

    bounds: tuple[int, ...]
    books: tuple[tuple[Codebooks, ...], ...]
    name: str = "vq"

    @property
    def element(self) -> str:
        return "uint8"

    @property
    def family(self) -> str:
        """FAISS's name of the family, less the rotation."""
        first = self.books[0][0]
        bits = [width for _, width in first.fields]
        return f"OPQ,Residual2x{bits[0]},PQ{len(bits) - 2}x{bits[2]}"

    def to_dict(self) -> dict[str, Any]:
        """`codebooks` is the sha256 of all that was trained: a build that others trained can't be taken up by mistake."""
        return {"name": self.name, "family": self.family, "bounds": list(self.bounds), "codebooks": self._sha256}

    def tensors(self) -> Mapping[str, Tensor]:
        """`<kind>.<group>.rotation`, `.coarse` and `.fine`, shapes as in Codebooks."""
        return {
            f"{kind}.{group}.{part}": tensor
            for kind, groups in zip(KINDS, self.books, strict=True)
            for group, books in enumerate(groups)
            for part, tensor in (("rotation", books.rotation), ("coarse", books.coarse), ("fine", books.fine))
        }

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Vq":
        """Raises UntrainedQuantiserError when there are no tensors, as for a bare `{"name": "vq"}`; KeyError for one that is missing,
        ValueError for bounds that are none.
        """
        if not tensors:
            raise UntrainedQuantiserError(
                "Quantiser 'vq' learns from the memories that it is to hold: build the bank with --quantiser fp16, "
                "then train and apply it with `kmem convert --quant vq`."
            )
        bounds = Fields(dict(config)).counts("bounds")
        if bounds[:1] != (0,) or any(start >= end for start, end in itertools.pairwise(bounds)) or len(bounds) < 2:
            raise ValueError(f"bounds is {bounds}, not a row of slots that ascends from 0")
        books = tuple(
            tuple(
                Codebooks(**{part: tensors[f"{kind}.{group}.{part}"] for part in ("rotation", "coarse", "fine")})
                for group in range(len(bounds) - 1)
            )
            for kind in KINDS
        )
        return cls(bounds=bounds, books=books)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vq) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self._sha256)

    def record_shape(self, slots: int, head_dim: int) -> tuple[int, ...]:
        """`(2, S, code_bytes)`. Raises ConfigError for another S or D than it was trained for."""
        trained = self.books[0][0].head_dim
        if (slots, head_dim) != (self.bounds[-1], trained):
            raise ConfigError(
                f"Quantiser 'vq' was trained for memories of {self.bounds[-1]} slots × {trained} numbers, not {slots} × {head_dim}; "
                "train it on this bank."
            )
        return (2, slots, self.books[0][0].code_bytes)

    def record_dtype(self) -> np.dtype[Any]:
        return np.dtype("u1")

    def encode(self, kv: Tensor) -> NDArray[Any]:
        """kv: [n, 2, S, D] → codes [n, 2, S, code_bytes].

        Raises ConfigError for NaN, infinity and magnitudes past 65504, and for another S or D than it was trained for.
        """
        kv = kv.detach().cpu()
        require_finite(kv, self.name, torch.finfo(torch.float16).max)
        codes = torch.empty(len(kv), *self.record_shape(*kv.shape[2:]), dtype=torch.uint8)
        for (kind, slots), books in zip(self._parts, itertools.chain(*self.books), strict=True):
            codes[:, kind, slots] = vq_encode(kv[:, kind, slots], books)
        records: NDArray[Any] = codes.numpy()
        return records

    def decode(self, records: NDArray[Any]) -> Tensor:
        """Codes [n, 2, S, code_bytes] → kv: [n, 2, S, D] float16."""
        return vq_decode(torch.from_numpy(records), self.table, self.sets)

    @property
    def _parts(self) -> list[tuple[int, slice]]:
        """(kind, slots) of each set of codebooks, in their order."""
        return [(kind, slice(*ends)) for kind in range(len(KINDS)) for ends in itertools.pairwise(self.bounds)]

    @cached_property
    def table(self) -> Table:
        """All sets of codebooks as one table, keys' groups first, then values', in float16 on the processor."""
        return rotated_table(list(itertools.chain(*self.books)), torch.float16)

    @cached_property
    def sets(self) -> Tensor:
        """[2, S] int32 which set of codebooks each vector of a memory has."""
        sets = torch.empty(len(KINDS), self.bounds[-1], dtype=torch.int32)
        for number, part in enumerate(self._parts):
            sets[part] = number
        return sets

    @cached_property
    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors().items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()
