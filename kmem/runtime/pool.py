"""The device tier: memories where the model's attention finds them, the least recently used out first."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from kmem.kernels.memory_attention import LayerMemory
from kmem.memories import MemorySpec
from kmem.runtime.copies import Copies
from kmem.runtime.forms import Form
from kmem.runtime.records import Records

FIRST_ROWS = 16
"""Memories there is room for at first; the room doubles as more come, up to the budget."""


class Pool:
    """At most `budget_bytes` of memories in one form, or what the current spans read if that is more. `dtype` is the bracket's.

    `version` grows whenever rows are written or moved: what was planned before may then read another memory.
    """

    def __init__(self, spec: MemorySpec, form: Form, *, device: torch.device, dtype: torch.dtype, budget_bytes: int) -> None:
        self.spec, self.form, self.device = spec, form, device
        self.version = 0
        self._copy = Copies(device)
        self._bracket = spec.bracket.to(device=device, dtype=dtype)  # [L, 2, H, P, D]
        self._bounds = tuple(accumulate((sum(heads) for heads in spec.profile.budget), initial=0))
        record_bytes = 2 * spec.profile.slots * form.width * form.dtype.itemsize
        self._most = budget_bytes // max(1, record_bytes)
        self._row: OrderedDict[int, int] = OrderedDict()
        self._kv = torch.empty(0, 2, spec.profile.slots, form.width, device=device, dtype=form.dtype)
        self._filled = torch.empty(0, spec.profile.slots, device=device, dtype=torch.bool)

    def __len__(self) -> int:
        return len(self._row)

    @property
    def layers(self) -> int:
        return len(self.spec.profile.budget)

    def missing(self, ids: Sequence[int]) -> list[int]:
        """The ids that are not resident."""
        return [memory_id for memory_id in ids if memory_id not in self._row]

    @torch.inference_mode(False)
    def hold(self, ids: Sequence[int], loaded: Records | None) -> None:
        """Make `ids` resident and the ones used last; `loaded`, which the form made ready, are those that were missing.

        Others go where there is no room.
        """
        for memory_id in ids:
            if memory_id in self._row:
                self._row.move_to_end(memory_id)
        fresh = () if loaded is None else loaded.ids
        most = max(self._most, len(ids))
        while len(self._row) + len(fresh) > most:
            self._row.popitem(last=False)
        if len(self._kv) > most:
            self._shrink(most)
        if loaded is None:
            return
        if len(self._row) + len(fresh) > len(self._kv):
            self._grow(min(most, max(FIRST_ROWS, 2 * len(self._kv), len(self._row) + len(fresh))))
        taken = set(self._row.values())
        rows = [row for row in range(len(self._kv)) if row not in taken][: len(fresh)]
        self.version += 1
        at = torch.tensor(rows, device=self.device)
        self._kv[at] = self._copy(loaded.stored).to(self.form.dtype)
        self._filled[at] = self._copy(loaded.filled)
        self._row.update(zip(fresh, rows, strict=True))  # last: what could not be copied is not here

    def rows(self, ids: Sequence[int]) -> list[int]:
        """Where they lie."""
        return [self._row[memory_id] for memory_id in ids]

    def layer(self, index: int) -> LayerMemory:
        """All resident memories of one layer, in place."""
        slots = slice(*self._bounds[index : index + 2])
        return LayerMemory(
            slots=self.form.slots(self._kv, slots),
            filled=self._filled[:, slots],
            budget=self.spec.profile.budget[index],
            bracket_key=self._bracket[index, 0],
            bracket_value=self._bracket[index, 1],
        )

    def _grow(self, rows: int) -> None:
        kv, filled = _longer(self._kv, rows), _longer(self._filled, rows)
        self._filled, self._kv = filled, kv  # in this order: rows are counted by `_kv`

    def _shrink(self, rows: int) -> None:
        """Give back the room that an earlier forward pass needed beyond the budget. Cut short, it leaves an empty pool or a whole one."""
        ids, held = list(self._row), torch.tensor(list(self._row.values()), device=self.device, dtype=torch.long)
        kv, filled = (_longer(tensor[held], rows) for tensor in (self._kv, self._filled))
        self.version += 1
        self._row = OrderedDict()
        self._kv, self._filled = kv, filled
        self._row = OrderedDict((memory_id, row) for row, memory_id in enumerate(ids))


def _longer(tensor: Tensor, rows: int) -> Tensor:
    longer = tensor.new_empty(rows, *tensor.shape[1:])
    longer[: len(tensor)] = tensor
    return longer
