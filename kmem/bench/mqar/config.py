"""Every option of the benchmark of recall, with its one default; importable without torch."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from kmem.arguments import require_count
from kmem.errors import ConfigError
from kmem.training.variants import VARIANTS, require_variant

ENOUGH = 0.95
"""Share of pairs inside its window that a control must recall: one that doesn't was not trained enough to be evidence of anything."""


MADE = "mqar-runs"
"""Folder of the runs that `--full` trains, unless another is named."""


@dataclass(frozen=True, kw_only=True)
class MqarConfig:
    """runs: folder of finished runs, None = those that are shipped. variants, seeds: which of them.

    sequences: fresh examples that each is asked. sweep: sizes of the store that variants with one are asked at, too, on at
    most `sweep_sequences`. seed: of the examples.
    """

    runs: Path | None = None
    variants: tuple[str, ...] = VARIANTS
    seeds: tuple[int, ...] = (0, 1, 2)
    sequences: int = 128
    sweep: tuple[int, ...] = (16, 32, 48, 64, 96, 128, 160, 192)
    sweep_sequences: int = 32
    seed: int = 2_000_003

    def __post_init__(self) -> None:
        for name in ("sequences", "sweep_sequences"):
            require_count(getattr(self, name), name)
        require_count(self.seed, "seed", least=0)
        for size in self.sweep:
            require_count(size, "sweep")
        for seed in self.seeds:
            require_count(seed, "seeds", least=0)
        for name in self.variants:
            require_variant(name)
        for given, said in ((self.variants, "variants"), (self.seeds, "seeds")):
            if not given:
                raise ConfigError(f"{said} is empty; name at least one.")

    @property
    def folder(self) -> Path:
        return self.runs or Path(str(files("kmem.bench.mqar") / "checkpoints"))

    def file(self, variant: str, seed: int) -> Path:
        """Where a run is kept."""
        return self.folder / f"{variant}-{seed}.safetensors"
