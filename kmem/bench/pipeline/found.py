"""How many of the planted copies are found, and how many of those found are copies."""

import time
from collections import Counter
from functools import partial
from typing import Any

from kmem.bench.pipeline.config import PipelineConfig
from kmem.bench.pipeline.plants import Planted
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.dedup.duplicates import REASONS, find_duplicates
from kmem.kbuild.dedup.signatures import Signatures, sign

PLACES = 4


def measure_found(planted: Planted, config: PipelineConfig, dedup: DedupConfig) -> dict[str, Any]:
    """`dedup_recall`: families of which one document was dropped for the other, over all that have two. `dedup_precision`: documents
    dropped for one of their own family, over all dropped: that two real articles are much alike counts against it. `recall` by kind of
    copy; `dropped` by reason; `false_drops`: (title or source dropped, of which) of the first.
    """
    texts = planted.documents
    size = -(-len(texts) // config.partitions)
    partitions = [texts[start : start + size] for start in range(0, len(texts), size)]
    signed = [sign((d.text for d in part), dedup, (d.title for d in part)) for part in partitions]
    began = time.process_time()
    apart = find_duplicates([partial(_given, signatures) for signatures in signed], dedup)
    seconds = time.process_time() - began
    of = [int(kept) for part in apart for kept in part.of]
    dropped = [number for number, kept in enumerate(of) if kept >= 0]
    right = [number for number in dropped if planted.family[number] == planted.family[of[number]]]
    found, every = Counter(planted.kinds[planted.family[number]] for number in right), Counter(planted.kinds.values())
    wrong = [(texts[number].source, texts[of[number]].source) for number in sorted(set(dropped) - set(right))]
    return {
        "dedup_recall": round(len(right) / len(planted.kinds), PLACES),
        "dedup_precision": round(len(right) / max(1, len(dropped)), PLACES),
        "recall": {kind: round(found[kind] / count, PLACES) for kind, count in sorted(every.items())},
        "dropped": {name: sum(int((part.reason == reason).sum()) for part in apart) for reason, name in REASONS.items()},
        "false_drops": len(wrong),
        "falsely_dropped": [list(pair) for pair in wrong[:20]],
        "dedup_documents_per_s": round(len(texts) / seconds),
    }


def _given(signatures: Signatures) -> Signatures:
    return signatures
