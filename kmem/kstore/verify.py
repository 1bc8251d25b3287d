"""Is everything in a bank what was written, and does it belong together? And a new index, where the old one is lost."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from kmem.errors import BankNotFoundError, CorruptBankError
from kmem.kstore.bank import Bank, Hidden, open_bank
from kmem.kstore.commit import commit, held_manifest, require_latest
from kmem.kstore.conform import require_layout
from kmem.kstore.index.config import as_asked
from kmem.kstore.index.make import make_index
from kmem.kstore.index.retriever import Retriever, require_same_embedder
from kmem.kstore.index.retrievers import recorded_retriever
from kmem.kstore.lock import asking, locked
from kmem.kstore.manifest import Manifest
from kmem.kstore.place import place_of
from kmem.kstore.place.protocol import RESTORE
from kmem.kstore.stored import require_sizes
from kmem.progress import Progress, silent

BLOCK_ROWS = 256


def verify(path: str | Path, *, deep: bool = False, progress: Progress = silent) -> dict[str, int | None]:
    """Compare every file's digest → how many `files` were looked at, `memories` there are, and `memories_read`. Raises CorruptBankError
    naming all that differ.

    memories_read: None unless `deep`; of a bank built without encoding, those that are encoded.

    deep: also read every memory as generation does (its own checksum, finite numbers, slots filled by its length, with tokens that the
    text has), every text (its sha256), and compare the ids of records, texts, index and deletions, and Zarr's metadata with the manifest.
    """
    with open_bank(path, verify="always") as bank:
        files = bank.verify(lambda done, total: progress("files", done, total))
        ids = bank.ids[bank.encoded(bank.ids.tolist())].tolist() if deep else []
        if deep:
            require_layout(bank)
            _check_memories(bank, ids, lambda done: progress("memories", done, len(ids)))
            bank.verify_texts()
        return {"files": files, "memories": len(bank), "memories_read": len(ids) if deep else None}


def repair_index(
    path: str | Path,
    *,
    embedder: Retriever | None = None,
    hidden: Hidden | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Embed all texts again and commit a new index; the old one is not looked at.

    embedder, hidden: as in `open_bank`.
    Raises CorruptBankError when anything but the index is damaged, IdentityMismatchError when `embedder` is not the bank's,
    BankExistsError while another writer is at work.
    """
    place = place_of(path)
    manifest, let_go = held_manifest(place)
    if manifest is None:
        raise BankNotFoundError(f"{place} holds no bank; make one with kmem build.")
    with ExitStack() as stack:
        stack.callback(let_go)
        require_held = stack.enter_context(locked(place))
        progress = asking(require_held, progress)
        bank = stack.enter_context(Bank(place, replace(manifest, deleted=())))  # an index holds what is deleted, too
        require_latest(place, manifest)
        require_sizes(place, [file for file in manifest.files if file not in manifest.index.files])
        recorded = manifest.index.embedder
        embedder = embedder or recorded_retriever(recorded, hidden=partial(hidden, manifest) if hidden else None)
        require_same_embedder(recorded, embedder.identity())
        ids = bank.ids
        done = 0

        def more(count: int) -> None:
            nonlocal done
            done += count
            progress("embed", done, len(ids))

        texts = [chunk.reference for chunk in bank.chunks(ids.tolist())]
        vectors, config = embedder.embed(texts, progress=more), as_asked(manifest.index)
        record = make_index(
            place, vectors, lambda: texts, ids, recorded, config=config, number=manifest.number + 1, embed_queries=embedder.embed_queries
        )
        repaired = manifest.changed(manifest.generations, record, manifest.deleted)
        commit(place, repaired, require_held)
    return repaired


def _check_memories(bank: Bank, ids: list[int], progress: Callable[[int], None]) -> None:
    for start in range(0, len(ids), BLOCK_ROWS):
        some = ids[start : start + BLOCK_ROWS]
        memories = bank.read(some)
        unread = bank.read(some, positions=False)
        finite = memories.kv.isfinite().flatten(1).all(dim=1)
        alike = (memories.filled == unread.filled).all(dim=1)
        inside = (~memories.filled | (memories.slot_position < memories.lengths[:, None])).all(dim=1)
        said = zip(some, finite.tolist(), alike.tolist(), inside.tolist(), memories.lengths.tolist(), bank.chunks(some), strict=True)
        for memory_id, whole, filled, kept, length, chunk in said:
            if not whole:
                raise CorruptBankError(f"{bank.place}: memory {memory_id} holds numbers that are not finite; {RESTORE}")
            if not filled:
                raise CorruptBankError(f"{bank.place}: memory {memory_id} keeps other slots than its length says; {RESTORE}")
            if not kept:
                raise CorruptBankError(f"{bank.place}: memory {memory_id} keeps a token past the {length} that it has; {RESTORE}")
            if chunk.id != memory_id:
                raise CorruptBankError(f"{bank.place}: the text of memory {memory_id} is that of {chunk.id}; {RESTORE}")
        progress(start + len(some))
    if len(np.unique(bank.ids)) != len(bank.ids):
        raise CorruptBankError(f"{bank.place}: an id occurs twice; {RESTORE}")
    unknown = np.setdiff1d(bank.manifest.deleted, bank.all_ids)
    if len(unknown):
        raise CorruptBankError(f"{bank.place}: the manifest says that {unknown[0]} was deleted, an id that never was there; {RESTORE}")
