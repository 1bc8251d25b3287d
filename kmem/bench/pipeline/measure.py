"""The whole benchmark of the pipeline."""

from pathlib import Path
from typing import Any

from kmem.bench.pipeline.config import EDITED, PLANT_WORDS, PipelineConfig
from kmem.bench.pipeline.found import measure_found
from kmem.bench.pipeline.growth import measure_growth
from kmem.bench.pipeline.plants import plant
from kmem.bench.pipeline.stages import DEDUP, RULES, measure_stages
from kmem.bench.pipeline.texts import mixed
from kmem.kbuild.tokens import Tokenizer
from kmem.progress import Progress, silent

ASKED = {"dedup_recall": 0.95, "dedup_precision": 0.95, "clean_mb_per_s_core": 3.0}
AT_MOST = {"cost_growth": 1.2}
"""What issue 7 asks."""


def measure_pipeline(config: PipelineConfig, tokenizer: Tokenizer, folder: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """The figures of `measure_found`, `measure_stages` and `measure_growth`, with what was asked and the settings.

    `folder` is written to. Raises ConfigError for corpora that hold too little, and what reading them raises.
    """
    several = mixed(config)
    progress("deduplicate", 0, config.documents)
    found = measure_found(plant(several, config), config, DEDUP)
    progress("deduplicate", config.documents, config.documents)
    progress("stages", 0, 1)
    rates = measure_stages(several, tokenizer, config, folder)
    progress("stages", 1, 1)
    growth = measure_growth(several, tokenizer, config, progress)
    return {
        **found,
        **rates,
        **growth,
        "asked": ASKED,
        "asked_at_most": AT_MOST,
        "settings": {
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
