"""`chunk`: the kept documents of a partition → chunks, as one Parquet file."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import count

from kmem.document import Chunk, Document
from kmem.kbuild.chunker import Chunker, ChunkerConfig
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.dedup.signatures import Signer
from kmem.kbuild.rejected import Rejected
from kmem.kstore.chunks import CHUNKS
from kmem.kstore.place import Place
from kmem.pipelines.drops import dropped_in
from kmem.pipelines.ledger import ASIDE, CAME, DROPPED, KEPT, REJECTED, Ledger, Receipt
from kmem.pipelines.partitions import digest
from kmem.pipelines.records import documents_of, write_records
from kmem.pipelines.steps.read import READ, store_rejects
from kmem.pipelines.steps.sign import signatures, signing
from kmem.pipelines.steps.site import opened
from kmem.pipelines.tools import Recipe, Tools, telling

CHUNK = "chunk"
DOCUMENTS = "documents"
"""A fact of its receipts: how many documents were to be cut."""


@dataclass(frozen=True, kw_only=True)
class Sifted:
    """A partition whose documents were read. key: of their receipt; drops: stages that may have dropped some of them."""

    index: int
    key: str
    drops: tuple[str, ...] = ()
    aside: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ChunkStep:
    """site: of the bank. recipe: names the model, whose tokenizer counts."""

    site: str
    recipe: Recipe
    chunk: ChunkerConfig
    dedup: DedupConfig

    stage = CHUNK

    def __call__(self, task: Sifted, tools: Tools) -> Receipt:
        ledger, chunker = Ledger(opened(self.site, tools), self.stage), self._chunker(tools)  # loading a tokenizer is no cutting
        return ledger.once(task, self.key, lambda task: self._cut(task, ledger, chunker, tools))

    def _cut(self, task: Sifted, ledger: Ledger, chunker: Chunker, tools: Tools) -> Receipt:
        place = ledger.place
        counts: Counter[str] = Counter()
        rejects: list[dict[str, str]] = []
        came = Counter[str]()
        documents = telling(self._documents(place, task, counts, rejects, came), tools)
        signer = Signer(self.dedup) if self.dedup.mode != "none" else None
        chunks = signing(_counted(chunker.run(documents, counts), counts), signer)
        files = write_records(place, ledger.file(task.index, "parquet"), CHUNKS, chunks), *signatures(place, ledger, task.index, signer)
        # A document that can't be cut counts as one chunk that is not there.
        counts[CAME] = counts["chunks"] + sum(count for reason, count in counts.items() if reason.startswith((DROPPED, REJECTED)))
        files = *files, *store_rejects(place, ledger, task.index, rejects)
        return Receipt(index=task.index, files=files, counts=dict(counts), facts={DOCUMENTS: came[DOCUMENTS], ASIDE: task.aside})

    def key(self, task: Sifted) -> str:
        """Of all that the chunks follow from."""
        return digest([asdict(self.chunk), asdict(self.dedup), self.recipe.model, task.key, task.aside])

    def units(self, task: Sifted, tools: Tools) -> Iterator[Document]:
        """Every document that is cut."""
        return kept_documents(opened(self.site, tools), task)

    def alone(self, unit: Document, task: Sifted, tools: Tools) -> None:
        signer = Signer(self.dedup) if self.dedup.mode != "none" else None
        for _ in signing(self._chunker(tools).run([unit], Counter()), signer):
            pass

    def _chunker(self, tools: Tools) -> Chunker:
        return tools.get(("chunker", self.recipe.model, self.chunk), lambda: Chunker(self.recipe.tokenizer(tools), self.chunk))

    def _documents(
        self, place: Place, task: Sifted, counts: Counter[str], rejects: list[dict[str, str]], came: Counter[str]
    ) -> Iterator[Document]:
        aside = dict(task.aside)
        for number, document in enumerate(kept_documents(place, task)):
            came[DOCUMENTS] += 1
            if number in aside:
                counts[f"{REJECTED}{aside[number]}"] += 1
                rejects.append(Rejected(source=document.source, reason=aside[number], sample=document.text[:80]).to_dict())
            else:
                yield document


def kept_rows(place: Place, task: Sifted) -> Iterator[int]:
    """The rows of those documents, without end: there are as many as `kept_documents` gives."""
    drops = dropped_in(place, task.drops, task.index)
    return (row for row in count() if row not in drops)


def kept_documents(place: Place, task: Sifted) -> Iterator[Document]:
    """The documents of a partition that no stage dropped."""
    drops = dropped_in(place, task.drops, task.index)
    for row, document in enumerate(documents_of(place, Ledger(place, READ).file(task.index, "parquet"))):
        if row not in drops:
            yield document


def _counted(chunks: Iterable[Chunk], counts: Counter[str]) -> Iterator[Chunk]:
    for chunk in chunks:
        counts[KEPT] += 1
        yield chunk
