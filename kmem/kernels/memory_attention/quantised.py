"""Slots whose numbers stay quantised: a kernel decodes them as it reads them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.kernels.vq_decode import Table, vq_decode

SCALE_BYTES = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Int8Slots:
    """key, value: [N, S_l, D + 2] uint8, each D signed bytes and then their scale as a little-endian float16; views will do."""

    key: Tensor
    value: Tensor

    def decoded(self) -> tuple[Tensor, Tensor]:
        """float16, rounded as the store's int8 quantiser rounds."""
        return _int8_decoded(self.key), _int8_decoded(self.value)


@dataclass(frozen=True, kw_only=True, eq=False)
class VqSlots:
    """key, value: [N, S_l, code_bytes] uint8 codes of `table`; views will do.

    key_sets, value_sets: [S_l] int32 number of each slot's set of codebooks.
    """

    key: Tensor
    value: Tensor
    table: Table
    key_sets: Tensor
    value_sets: Tensor

    def decoded(self) -> tuple[Tensor, Tensor]:
        """In the table's type."""
        return vq_decode(self.key, self.table, self.key_sets), vq_decode(self.value, self.table, self.value_sets)


def _int8_decoded(records: Tensor) -> Tensor:
    """[…, D + 2] uint8 → […, D] float16."""
    scale = records[..., -SCALE_BYTES:].contiguous().view(torch.float16)
    return (records[..., :-SCALE_BYTES].view(torch.int8).float() * scale.float()).to(torch.float16)
