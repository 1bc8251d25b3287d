"""The whole benchmark of the pipeline."""

from pathlib import Path
from typing import Any

from kmem.bench.pipeline.config import EDITED, PLANT_WORDS, PipelineConfig
from kmem.bench.pipeline.found import measure_found
from kmem.bench.pipeline.growth import measure_growth
from kmem.bench.pipeline.plants import plant
from kmem.bench.pipeline.stages import DEDUP, RULES, measure_stages
from kmem.bench.pipeline.texts import chunks_per_mb, mixed
from kmem.bench.pipeline.workers import measure_workers
from kmem.kbuild.tokens import Tokenizer
from kmem.progress import Progress, silent

ASKED = {"dedup_recall": 0.95, "dedup_precision": 0.95, "clean_mb_per_s_core": 3.0, "encode_two_over_one": 1.7}
AT_MOST = {"cost_growth": 1.2}
"""What issue 7 asks."""


def measure_pipeline(
    config: PipelineConfig, model: str, tokenizer: Tokenizer, folder: Path, *, progress: Progress = silent
) -> dict[str, Any]:
    """The figures of `measure_found`, `measure_stages`, `measure_growth` and `measure_workers`, with what was asked and the settings.

    model: whose tokenizer it is, by name or folder. `folder` is written to. Raises ConfigError for corpora that hold too little, and what
    reading them and building raises.
    """
    several = mixed(config)
    progress("deduplicate", 0, config.documents)
    found = measure_found(plant(several, config), config, DEDUP)
    progress("deduplicate", config.documents, config.documents)
    progress("stages", 0, 1)
    rates = measure_stages(several, tokenizer, config, folder)
    progress("stages", 1, 1)
    density = chunks_per_mb(several, tokenizer)
    growth = measure_growth(several, density, model, config, folder, progress)
    workers = measure_workers(several, density, model, config, folder, progress) if config.encoded else {}
    return {
        **found,
        **rates,
        **growth,
        **workers,
        "asked": {name: limit for name, limit in ASKED.items() if config.encoded or name != "encode_two_over_one"},
        "asked_at_most": AT_MOST,
        "settings": {
            "model": model,
            "corpora": list(config.corpora),
            "documents": config.documents,
            "planted": 3 * config.planted,
            "edited_share": EDITED,
            "plant_words": PLANT_WORDS,
            "partitions": config.partitions,
            "rounds": config.rounds,
            "seed": config.seed,
            "rules": RULES.to_dict(),
            "deduplication": DEDUP.to_dict(),
        },
    }
