"""`kmem encode`: everything that a bank built without encoding still lacks, one record after another."""

import time
from dataclasses import dataclass
from pathlib import Path

from kmem.encoder.defaults import DEVICE
from kmem.encoder.encode import Encoder
from kmem.encoder.load import load_model
from kmem.kstore.bank import open_bank
from kmem.kstore.commit import require_latest
from kmem.kstore.fill import store_memories
from kmem.kstore.lock import asking, locked
from kmem.progress import Progress, silent


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """How many memories were encoded, how many were there already, and how long encoding took."""

    encoded: int
    there: int
    seconds: float


def encode_missing(path: str | Path, *, model: str | None = None, device: str = DEVICE, progress: Progress | None = None) -> Encoded:
    """Encode and store what is missing, each memory alone, as attaching does: both write the same bytes on the same machine.

    model: where the bank's model is now, None = where it was when the bank was built. Stopped at any moment, it goes on when it is
    repeated. Raises IdentityMismatchError when the model here is not the one of the bank, BankExistsError while another writer is at
    work (a bank that is attached doesn't count), CorruptBankError for damage.
    """
    progress = progress or silent
    with open_bank(path) as bank:
        ids = bank.ids[~bank.encoded(bank.ids.tolist())].tolist()
        there = len(bank) - len(ids)
        if not ids:
            return Encoded(encoded=0, there=there, seconds=0.0)
        progress("load", 0, 0)
        loaded, tokenizer = load_model(model or bank.identity.model, dtype=bank.manifest.encoder_dtype, device=device)
        encoder = Encoder(loaded, tokenizer, bank.profile)
        bank.identity.require_compatible(encoder.spec.identity)
        progress("load", 1, 1)
        with locked(bank.place) as require_held:
            progress = asking(require_held, progress)
            require_latest(bank.place, bank.manifest)
            began = time.perf_counter()
            progress("encode", 0, len(ids))
            for done, memory_id in enumerate(ids, 1):
                store_memories(bank, encoder.encode([bank.chunk(memory_id).reference], [memory_id]))
                progress("encode", done, len(ids))
        return Encoded(encoded=len(ids), there=there, seconds=time.perf_counter() - began)
