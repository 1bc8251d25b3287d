"""Cold start: a bank that was built without encoding gets a memory when it is first read, written by the model that reads it."""

import time
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.encoder.encode import Encoder
from kmem.encoder.fingerprint import weights_digest
from kmem.errors import CorruptBankError, IdentityMismatchError, MemoryNotEncodedError, NotStoredWarning, PlaceError
from kmem.kstore.fill import store_memories
from kmem.memories import Memories
from kmem.runtime.records import Records
from kmem.runtime.schedule import Ids
from kmem.runtime.source import BankSource, Origin
from kmem.runtime.stats import Stats


class ColdSource:
    """Reads like `source`, of whose bank memories may not be encoded yet: those are encoded by `model`, stored, and then read.

    Each is encoded alone, so its bytes don't depend on what else was missing. Where the bank can't be written, or would get numbers
    of another precision than it says it holds, they go into the RAM of `source` as the bank would store them, and a warning says so
    once; what has no room there is encoded again. Reading raises IdentityMismatchError once the model's weights have changed.
    """

    def __init__(self, source: BankSource, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.spec, self.quantiser = source.spec, source.quantiser
        self._source, self._bank, self._model, self._tokenizer = source, source.bank, model, tokenizer
        self._encoder: Encoder | None = None
        self._stores = True

    def retrieve(self, queries: Sequence[Sequence[int]], stats: Stats) -> list[Ids]:
        return self._source.retrieve(queries, stats)

    def require(self, ids: Sequence[int]) -> None:
        self._source.require(ids)

    def read_ahead(self, stats: Stats) -> None:
        self._source.read_ahead(stats)

    def close(self) -> None:
        self._source.close()

    def origin(self, memory_id: int) -> Origin:
        return self._source.origin(memory_id)

    def read(self, ids: Sequence[int], stats: Stats) -> Records:
        unstored: dict[int, NDArray[np.generic]] = {}
        while True:
            try:
                found = self._source.read([memory_id for memory_id in ids if memory_id not in unstored], stats)
            except MemoryNotEncodedError as error:
                began, before = time.perf_counter(), len(unstored)
                self._require_same_weights()
                for memory_id in error.ids:
                    self._encode(memory_id, unstored)
                stats.note_encoding(len(error.ids), time.perf_counter() - began, unstored=len(unstored) - before)
            else:
                return self._joined(found, unstored, ids) if unstored else found

    def _require_same_weights(self) -> None:
        if weights_digest(self._model) != self.spec.identity.weights:
            raise IdentityMismatchError(
                f"The model's weights have changed since it was attached, so it can't write memories into {self._bank.place}; encode the "
                "bank before training (kmem encode), or attach a model with the bank's own weights."
            )

    def _encode(self, memory_id: int, unstored: dict[int, NDArray[np.generic]]) -> None:
        """Encode one memory and store it, or add its record to `unstored`."""
        model = self._model
        training = [module for module in model.modules() if module.training]
        try:
            model.eval()  # what is stored for ever is written without dropout
            with torch.autocast(model.device.type, enabled=False):
                self._encoder = self._encoder or Encoder(model, self._tokenizer, self.spec.profile)
                memories = self._encoder.encode([self._bank.chunk(memory_id).reference], [memory_id])
        finally:
            for module in training:
                module.training = True
        if not (self._stores and self._store(memories)):
            (unstored[memory_id],) = self._bank.quantiser.encode(memories.kv)

    def _store(self, memories: Memories) -> bool:
        """Whether the memories are in the bank now; what can't be mended while the model runs is not tried again."""
        recorded, here = self._bank.manifest.encoder_dtype, str(self._model.dtype).removeprefix("torch.")
        if here != recorded:
            self._warn(f"it holds numbers encoded in {recorded} and this model runs in {here}: load the model with dtype={recorded!r}")
            self._stores = False
            return False
        try:
            store_memories(self._bank, memories)
        except CorruptBankError:
            raise
        except OSError as error:
            self._warn(f"it can't be written ({error.strerror or error}): make room, or give permission")
            self._stores = isinstance(error, PlaceError)  # a store may be reached again in a moment
            return False
        return True

    def _warn(self, reason: str) -> None:
        warnings.warn(
            f"What {self._bank.place} lacks is encoded again in every session and kept in RAM, since {reason}, or run kmem encode.",
            NotStoredWarning,
            stacklevel=2,
        )

    def _joined(self, found: Records, unstored: Mapping[int, NDArray[np.generic]], ids: Sequence[int]) -> Records:
        """`found` with what could not be stored, in the order of `ids`; RAM keeps the latter."""
        fresh = np.stack(list(unstored.values()))
        self._source.keep_in_ram(list(unstored), fresh)
        row_of = {memory_id: row for row, memory_id in enumerate((*found.ids, *unstored))}
        stored = np.concatenate([found.stored.numpy(), fresh])[[row_of[memory_id] for memory_id in ids]]
        return Records(ids=tuple(ids), stored=torch.from_numpy(stored), filled=self._bank.filled(ids))
