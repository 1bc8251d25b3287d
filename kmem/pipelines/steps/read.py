"""`read`: the pieces of a partition → documents that are worth keeping, as one Parquet file, and what was set aside on the way."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from kmem.document import Document
from kmem.errors import ConfigError
from kmem.identity import content_id
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.dedup.signatures import Signer
from kmem.kbuild.language import Languages, LanguagesConfig
from kmem.kbuild.pieces import EMPTY, Piece, Rejected, read_piece
from kmem.kbuild.readers.config import ReadConfig
from kmem.kbuild.rules.config import RulesConfig
from kmem.kbuild.rules.run import Rules
from kmem.kstore.place import Place
from kmem.kstore.stored import StoredFile, store
from kmem.pipelines.executors.local import is_final
from kmem.pipelines.ledger import ASIDE, CAME, DROPPED, KEPT, REJECTED, Ledger, Receipt, as_before
from kmem.pipelines.partitions import Partition, digest, pieces_digest, stamps_digest
from kmem.pipelines.records import DOCUMENTS, write_records
from kmem.pipelines.run import WHILE_READ, Unread
from kmem.pipelines.steps.sign import signatures, signing
from kmem.pipelines.steps.site import opened
from kmem.pipelines.tools import Tools, telling

READ = "read"
MOST_SAMPLES = 10_000
"""Rejected records of a partition that are written down; all are counted."""
CHANGED = "the text of the sources changed, or their order or place"


@dataclass
class _Seen:
    """What one pass over a partition finds out beside its documents."""

    counts: Counter[str] = field(default_factory=Counter)
    yielded: int = 0
    aside: int = 0
    samples: list[dict[str, str]] = field(default_factory=list)
    lost: dict[str, Rejected] = field(default_factory=dict)
    gave: set[str] = field(default_factory=set)
    digest: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def note(self, document: Document) -> None:
        self.yielded += 1
        self.digest.update(content_id(document.source, document.title, document.text).to_bytes(8, "little"))

    def reject(self, source: str, rejected: Rejected) -> None:
        """Of the piece's source `source`."""
        if len(self.samples) < MOST_SAMPLES:
            self.samples.append(rejected.to_dict())
        self.lost.setdefault(source, rejected)


@dataclass(frozen=True, kw_only=True)
class ReadStep:
    """site: of the bank."""

    site: str
    read: ReadConfig
    rules: RulesConfig
    languages: LanguagesConfig
    dedup: DedupConfig

    stage = READ

    def __call__(self, task: Partition, tools: Tools) -> Receipt:
        """Raises ConfigError where a partition that was read before holds another text now."""
        place = opened(self.site, tools)
        ledger = Ledger(place, self.stage)
        before = ledger.receipt(task.index)
        task = as_before(task, before, self.key)
        key, stamps = self.key(task), stamps_digest(task)
        if before is not None and before.key == key and before.facts["stamps"] == stamps and ledger.whole(before):
            return replace(before, reused=True)
        began = time.perf_counter()
        seen = _Seen()
        signer = Signer(self.dedup) if self.dedup.mode != "none" else None
        kept = signing(self._kept(task, tools, seen), signer)
        files = [write_records(place, ledger.file(task.index, "parquet"), DOCUMENTS, kept), *signatures(place, ledger, task.index, signer)]
        text = seen.digest.hexdigest()
        if before is not None and before.key == key and before.facts["text"] != text:
            raise ConfigError(f"{place} was begun with other sources: {CHANGED}; choose another --out, or delete that folder.")
        counts = seen.counts
        unread = sum(count for reason, count in counts.items() if reason.startswith(REJECTED)) - seen.aside
        counts[CAME] = seen.yielded + counts[EMPTY] + unread
        receipt = Receipt(
            index=task.index,
            key=key,
            files=(*files, *store_rejects(place, ledger, task.index, seen.samples)),
            counts=dict(counts),
            facts={
                "text": text,
                ASIDE: task.aside,
                "stamps": stamps,
                "pieces": pieces_digest(task),
                "lost": {source: seen.lost[source].to_dict() for source in _shared(task, seen) if source in seen.lost},
                "gave": sorted(seen.gave & (_ends(task) | set(sorted(seen.gave)[:1]))),
            },
            seconds=time.perf_counter() - began,
        )
        ledger.finish(receipt)
        return receipt

    def units(self, task: Partition, tools: Tools) -> Iterator[Document | Unread]:
        """Every document that the pieces give, and what stands before them and for them."""
        return self._read(task, _Seen(), going_on=True)

    def alone(self, unit: Document | Unread, task: Partition, tools: Tools) -> None:
        if isinstance(unit, Unread):
            raise unit
        if self._verdict(unit, tools) is None and self.dedup.mode != "none":
            Signer(self.dedup).add(unit.text, unit.title)

    def key(self, task: Partition) -> str:
        """Of all that the kept documents follow from, but the bytes of the sources."""
        return digest([asdict(self.read), asdict(self.rules), asdict(self.languages), asdict(self.dedup), pieces_digest(task), task.aside])

    def _read(self, task: Partition, seen: _Seen, *, going_on: bool = False) -> Iterator[Document | Unread]:
        """The documents, and what stands before those of a piece, or for one that can't be read. going_on: with the next piece, where there
        is too little memory for one.
        """
        number = 0
        unreadable = {at: reason for at, reason in task.aside if reason.endswith(WHILE_READ)}
        for piece in task.pieces:
            reading = read_piece(piece, self.read, seen.counts, partial(seen.reject, piece.source))
            yield Unread()
            number += 1
            try:
                while number not in unreadable:
                    document = next(reading, None)
                    if document is None:
                        break
                    seen.gave.add(piece.source)
                    yield document
                    number += 1
                else:
                    _give_up(piece, seen, unreadable[number])
                    yield Unread()
                    number += 1
            except MemoryError as error:  # another attempt may have more
                if not going_on:
                    raise
                unread = Unread()
                unread.__cause__ = error
                yield unread
                number += 1
            except Exception as error:
                if is_final(error):
                    raise
                _give_up(piece, seen, f"reader raised {type(error).__name__}")

    def _kept(self, task: Partition, tools: Tools, seen: _Seen) -> Iterator[Document]:
        aside = dict(task.aside)
        for number, document in enumerate(telling(self._read(task, seen), tools)):
            if isinstance(document, Unread):
                continue
            seen.note(document)
            if number in aside:
                seen.counts[f"{REJECTED}{aside[number]}"] += 1
                seen.aside += 1
                seen.reject(document.source, Rejected(source=document.source, reason=aside[number], sample=document.text[:80]))
            elif (reason := self._verdict(document, tools)) is not None:
                seen.counts[f"{DROPPED}{reason}"] += 1
            else:
                seen.counts[KEPT] += 1
                yield document

    def _verdict(self, document: Document, tools: Tools) -> str | None:
        """Why a document is dropped; None where it is kept."""
        rules = tools.get(("rules", repr(self.rules)), lambda: Rules(self.rules))
        languages = tools.get(("languages", self.languages), lambda: Languages(self.languages))
        return rules.verdict(document.text) or languages.verdict(document.text)


def text_digest(step: ReadStep, task: Partition) -> str:
    """What the receipt's fact `text` would be now; nothing is written."""
    seen = _Seen()
    for document in step._read(task, seen):
        if not isinstance(document, Unread):
            seen.note(document)
    text: str = seen.digest.hexdigest()
    return text


def _give_up(piece: Piece, seen: _Seen, reason: str) -> None:
    """What is left of a piece that can't be read on counts as one record."""
    seen.counts[f"{REJECTED}{reason}"] += 1
    seen.reject(piece.source, Rejected(source=piece.source, reason=reason, message=f"{piece.source} can't be read: {reason}."))


def store_rejects(place: Place, ledger: Ledger, index: int, samples: list[dict[str, str]]) -> tuple[StoredFile, ...]:
    """The file of what was set aside in a partition, if anything was."""
    if not samples:
        return ()
    lines = "".join(f"{json.dumps(sample, ensure_ascii=False)}\n" for sample in samples)
    return (store(place, ledger.file(index, "rejected.jsonl"), lines.encode()),)


def _shared(task: Partition, seen: _Seen) -> list[str]:
    """Sources of which the build must know what was lost, in their order: those that gave nothing, and those that partitions share."""
    ends = _ends(task)
    return [source for source in dict.fromkeys(piece.source for piece in task.pieces) if source in ends or source not in seen.gave]


def _ends(task: Partition) -> set[str]:
    """Sources that partitions may share."""
    return {task.pieces[0].source, task.pieces[-1].source} if task.pieces else set()
