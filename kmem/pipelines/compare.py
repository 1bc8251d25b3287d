"""What is to be appended against what the bank holds: copies of stored texts, exact and near, found as a build finds them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from kmem.document import Chunk
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.dedup.duplicates import REASONS, find_duplicates
from kmem.kbuild.dedup.signatures import Signatures, Signer
from kmem.kstore.bank import Bank
from kmem.kstore.place import LocalPlace, Place
from kmem.pipelines.ledger import DROPPED
from kmem.pipelines.steps.sign import signing
from kmem.progress import Progress

COMPARED_ROWS = 2_000_000
"""Memories up to which a bank's texts are read and signed for an append that doesn't say."""
BLOCK_TEXTS = 1 << 16
"""Stored texts whose signatures are in memory at a time."""


def copies_of_stored(bank: Bank, chunks: Sequence[Chunk], config: DedupConfig, progress: Progress) -> dict[int, str]:
    """By id, those of these chunks that copy a text of the bank, and the reason to drop each.

    Every text of the bank is read and signed. Takes what `find_duplicates` does, and 172 bytes a stored text more in temporary files.
    """
    with TemporaryDirectory(prefix="kmem-signatures-") as folder:
        place = LocalPlace(Path(folder))
        parts = _stored(bank, config, place, progress)
        new = _signed(chunks, config)
        *before, found = find_duplicates([*parts, lambda: new], config)
    count = sum(len(part.of) for part in before)
    return {
        chunk.id: f"{DROPPED}{REASONS[int(reason)]} of a stored text"
        for chunk, of, reason in zip(chunks, found.of, found.reason, strict=True)
        if 0 <= of < count
    }


def _stored(bank: Bank, config: DedupConfig, place: Place, progress: Progress) -> list[Callable[[], Signatures]]:
    """The signatures of the bank's texts, in files of `place`; what was deleted is nothing that anyone could find."""
    deleted, parts = frozenset(bank.manifest.deleted), list[Callable[[], Signatures]]()
    texts: Iterator[Chunk] = (chunk for chunk in bank.all_chunks() if chunk.id not in deleted)
    progress("compare", 0, len(bank))
    while block := list(islice(texts, BLOCK_TEXTS)):
        file = f"{len(parts):05d}.npz"
        place.replace(file, _signed(block, config).save())
        parts.append(partial(_loaded, place, file))
        progress("compare", min(len(bank), len(parts) * BLOCK_TEXTS), len(bank))
    return parts


def _signed(chunks: Sequence[Chunk], config: DedupConfig) -> Signatures:
    signer = Signer(config)
    for _ in signing(chunks, signer):
        pass
    return signer.signatures()


def _loaded(place: Place, file: str) -> Signatures:
    return Signatures.load(place.read(file))
