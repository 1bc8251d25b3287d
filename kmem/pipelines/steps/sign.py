"""Signatures of texts as they pass, kept beside them for the barrier that compares all partitions."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from kmem.document import Chunk, Document
from kmem.kbuild.dedup.signatures import Signer
from kmem.kstore.place import Place
from kmem.kstore.stored import StoredFile, store
from kmem.pipelines.ledger import Ledger

SIGNATURES = "npz"
Text = TypeVar("Text", Document, Chunk)


def signing(texts: Iterable[Text], signer: Signer | None) -> Iterator[Text]:
    """The same texts, each signed; without a signer they just pass."""
    for text in texts:
        if signer is not None:
            signer.add(text.text, text.title)
        yield text


def signatures(place: Place, ledger: Ledger, index: int, signer: Signer | None) -> tuple[StoredFile, ...]:
    """The file of what was signed, if anything was to be."""
    return () if signer is None else (store(place, ledger.file(index, SIGNATURES), signer.signatures().save()),)
