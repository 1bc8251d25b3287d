"""Real builds, for what can be told from them: the stages of `kmem build`, what they took in and how long they were at it."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmem.kstore.bank import open_bank
from kmem.kstore.claim import BUILD
from kmem.kstore.index.null import NULL
from kmem.pipelines.build import build
from kmem.pipelines.config import BuildConfig, ExecutorConfig
from kmem.pipelines.receipts import STAGES, STATS
from kmem.pipelines.report import BuildReport
from kmem.progress import Progress, silent


def null_encoder(model: str) -> BuildConfig:
    """A build that runs no model: no memory is made (each would be when it is first read), and vectors are drawn from a hash."""
    return BuildConfig(model=model, embedder=NULL, encode=False)


@dataclass(frozen=True, kw_only=True)
class Built:
    """stages: as `Stats.to_dict` has them. digests: of every file of texts and memories."""

    report: BuildReport
    stages: dict[str, dict[str, Any]]
    digests: tuple[str, ...]


def built(source: str, folder: Path, config: BuildConfig, executor: ExecutorConfig, progress: Progress = silent) -> Built:
    """Build a bank in `folder`, look at it, delete it. Raises what building raises."""
    out = folder / "bank"
    report = build(source, out=out, config=config, executor=executor, progress=progress)
    stages = json.loads((out / BUILD / STATS).read_text())[STAGES]
    with open_bank(out) as bank:
        digests = tuple(file.digest for generation in bank.manifest.generations for file in generation.files)
    shutil.rmtree(out)
    return Built(report=report, stages=stages, digests=digests)
