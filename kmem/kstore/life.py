"""What becomes of a bank after it was built: memories are deleted, banks compacted, merged and converted.

Every change is a new manifest beside files that are never changed, so a kill at any moment leaves the bank as it was, and a reader
that has it open keeps its state.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from kmem.errors import ConfigError, IdentityMismatchError, MemoryNotEncodedError
from kmem.kstore.bank import Bank, open_bank
from kmem.kstore.claim import nothing_left_of_a_failure, require_claimable
from kmem.kstore.commit import commit, require_latest
from kmem.kstore.defaults import SHARD_BYTES
from kmem.kstore.generation import GenerationWriter
from kmem.kstore.index.config import as_asked
from kmem.kstore.index.make import make_index
from kmem.kstore.lock import asking, locked
from kmem.kstore.manifest import Manifest
from kmem.kstore.place import Place, place_of
from kmem.kstore.prune import prune, sweep
from kmem.kstore.quant import Quantiser, record_bytes
from kmem.kstore.rewrite import Copied
from kmem.kstore.writer import BankWriter
from kmem.profile import Profile
from kmem.progress import Progress, silent


@dataclass(frozen=True, kw_only=True, slots=True)
class Compacted:
    """The manifest after a compaction, what could be deleted of the states before it, and how many stay since somebody may read them."""

    manifest: Manifest
    deleted_files: int
    deleted_bytes: int
    held_states: int


def delete(path: str | Path, ids: Sequence[int]) -> Manifest:
    """Mark memories as deleted; their bytes stay until the bank is compacted.

    Raises MemoryNotFoundError for an id that is not there, BankExistsError while another writer is at work.
    """
    with open_bank(path) as bank, locked(bank.place) as require_held:
        require_latest(bank.place, bank.manifest)
        bank.lengths(ids)  # raises for what is unknown
        manifest = bank.manifest.changed(bank.manifest.generations, bank.manifest.index, {*bank.manifest.deleted, *map(int, ids)})
        commit(bank.place, manifest, require_held)
    return manifest


def compact(path: str | Path, *, shard_bytes: int = SHARD_BYTES, held_too: bool = False, progress: Progress = silent) -> Compacted:
    """Rewrite the bank as one generation without the deleted memories, then delete the states before it that no reader has open.

    What is not encoded yet becomes a second generation, whose records are still written on demand. held_too: also states that
    somebody may have open; in an object store nobody can tell. Nothing is rewritten where nothing would change. Raises ConfigError
    for a bank of which nothing is left, BankExistsError while another writer is at work.
    """
    open_bank(path).close()  # no lock in a folder that holds no bank
    with locked(place_of(path)) as require_held:
        with open_bank(path) as bank:
            manifest = bank.manifest
            if _would_change(bank):
                try:
                    manifest = _rewritten(bank, shard_bytes, asking(require_held, progress), require_held)
                except OSError:  # the disk is full: half a copy would keep it so
                    if bank.place.folder is not None:
                        sweep(bank.place, require_held)
                    raise
                progress("index", 1, 1)
        files, size, held = prune(place_of(path), require_held, held_too=held_too)
    return Compacted(manifest=manifest, deleted_files=files, deleted_bytes=size, held_states=held)


def merge(paths: Sequence[str | Path], out: str | Path, *, shard_bytes: int = SHARD_BYTES, progress: Progress = silent) -> Manifest:
    """A new bank with the memories of all, each id once. A merge that was stopped can be repeated.

    Raises IdentityMismatchError, naming what differs, unless all were written by the same model, profile, quantiser and embedder;
    ConfigError for fewer than two, or one that is named twice; MemoryNotEncodedError for a bank that was built without encoding and
    lacks some still.
    """
    if len(paths) < 2:
        raise ConfigError(f"Merging takes at least two banks, not {len(paths)}.")
    with ExitStack() as stack:
        first, *others = (stack.enter_context(open_bank(path)) for path in paths)
        _require_different([bank.place for bank in (first, *others)])
        for other in others:
            _require_alike(first, other)
        for bank in (first, *others):
            _require_encoded(bank)
        seen: set[int] = set()
        ids = []
        for bank in (first, *others):
            ids.append([memory_id for memory_id in bank.ids.tolist() if memory_id not in seen])
            seen.update(ids[-1])
        return _into_new(Copied((first, *others), ids), first, first.quantiser, out, shard_bytes, progress)


def convert(
    path: str | Path, quantiser: Quantiser, out: str | Path, *, shard_bytes: int = SHARD_BYTES, progress: Progress = silent
) -> Manifest:
    """A new bank with the same memories, stored by another quantiser.

    Raises ConfigError for a value that it can't hold, and for the quantiser that the bank has already; MemoryNotEncodedError as `merge`
    does.
    """
    with open_bank(path) as bank:
        if bank.manifest.quantiser == quantiser.to_dict():
            raise ConfigError(f"{bank.place} stores its memories as {quantiser.name} already: name another quantiser (--quant).")
        _require_encoded(bank)
        return _into_new(Copied([bank], [bank.ids.tolist()]), bank, quantiser, out, shard_bytes, progress)


def _rewritten(bank: Bank, shard_bytes: int, progress: Progress, require_held: Callable[[], None]) -> Manifest:
    encoded = bank.encoded(bank.ids.tolist())
    there, missing = bank.ids[encoded].tolist(), bank.ids[~encoded].tolist()
    copied = Copied([bank], [there + missing])
    _require_some(copied, bank)
    rows = _rows_per_shard(bank, bank.quantiser, shard_bytes)
    generations = []
    for on_demand, ids in ((False, there), (True, missing)):
        if ids:
            name = bank.manifest.next_generation(ids, rows, on_demand=on_demand)
            writer = GenerationWriter(bank.place, name, bank.spec, bank.quantiser, len(ids), rows, on_demand=on_demand)
            generations.append(writer.finished(Copied([bank], [ids]).write_all(writer, progress), writer.write_metadata()))
    progress("index", 0, 1)
    index = bank.manifest.index
    record = make_index(
        bank.place,
        copied.vectors(),
        copied.texts,
        copied.ids,
        index.embedder,
        config=as_asked(index),
        number=bank.manifest.number + 1,
    )
    manifest = bank.manifest.changed(tuple(generations), record, ())
    commit(bank.place, manifest, require_held)
    return manifest


def _into_new(copied: Copied, like: Bank, quantiser: Quantiser, out: str | Path, shard_bytes: int, told: Progress) -> Manifest:
    _require_some(copied, like)
    place = place_of(out)
    require_claimable(place)
    with locked(place) as require_held, nothing_left_of_a_failure(place):
        progress = asking(require_held, told)
        writer = BankWriter(place, like.spec, quantiser, len(copied), _rows_per_shard(like, quantiser, shard_bytes))
        shards = copied.write_all(writer.generation, progress)
        progress("index", 0, 1)
        index = like.manifest.index
        record = writer.write_index(copied.vectors(), copied.ids, index.embedder, as_asked(index), texts=copied.texts)
        manifest = writer.commit(shards, record, require_held=require_held)
    told("index", 1, 1)
    return manifest


def _would_change(bank: Bank) -> bool:
    """Whether memories were deleted, there are several generations of a kind, or some were encoded on demand, which belong into shards."""
    in_shards = [generation for generation in bank.manifest.generations if not generation.on_demand]
    if bank.manifest.deleted or len(in_shards) > 1 or len(bank.manifest.on_demand) > 1:
        return True
    return int(bank.encoded(bank.ids.tolist()).sum()) > sum(generation.rows for generation in in_shards)


def _require_encoded(bank: Bank) -> None:
    missing = bank.ids[~bank.encoded(bank.ids.tolist())]
    if len(missing):
        raise MemoryNotEncodedError(bank.place, tuple(missing.tolist()))


def _rows_per_shard(bank: Bank, quantiser: Quantiser, shard_bytes: int) -> int:
    return max(1, shard_bytes // record_bytes(quantiser, bank.profile.slots, bank.manifest.head_dim))


def _require_different(places: Sequence[Place]) -> None:
    seen = set()
    for place in places:
        name = str(place.folder.resolve() if place.folder is not None else place)
        if name in seen:
            raise ConfigError(f"{place} is named twice: merging it with itself would give the same bank; name another one.")
        seen.add(name)


def _require_some(copied: Copied, bank: Bank) -> None:
    if len(copied) == 0:
        raise ConfigError(f"Nothing is left in {bank.place}: every memory was deleted; delete the bank itself.")


def _require_alike(first: Bank, other: Bank) -> None:
    ours, theirs = first.manifest, other.manifest
    if _kept(ours.profile) != _kept(theirs.profile):
        raise IdentityMismatchError(
            f"{first.place} and {other.place} differ in their profile ({ours.profile.name} and {theirs.profile.name}); "
            "build one of them again with the other's (kmem build --profile …)."
        )
    first.identity.require_compatible(other.identity)
    if ours.quantiser != theirs.quantiser:  # of a trained one it holds a digest of what was trained
        raise IdentityMismatchError(
            f"{first.place} and {other.place} differ in their quantiser ({ours.quantiser['name']} and {theirs.quantiser['name']}); "
            "convert one of them first (kmem convert --quant …)."
        )
    if ours.index.embedder != theirs.index.embedder:
        names = f"{ours.index.embedder.get('name')} and {theirs.index.embedder.get('name')}"
        raise IdentityMismatchError(
            f"{first.place} and {other.place} differ in their embedder ({names}); build one of them again with the other's (--embedder …)."
        )


def _kept(profile: Profile) -> tuple[object, ...]:
    """What decides which tokens a memory holds and how they were encoded."""
    return profile.budget, profile.selector, profile.prefix, profile.suffix, profile.align
