"""Every option of a calibration, with its one default; importable without torch."""

from dataclasses import asdict, dataclass
from typing import Any

from kmem.arguments import require_count, require_name
from kmem.encoder.defaults import DEVICE, SMOLLM2
from kmem.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig:
    """slots: sizes to calibrate, one profile each. passages: documents to learn from. steps: gradient steps a size, of `batch_size` probes.

    selector: which tokens a head keeps first. prefix: the text before every reference; suffix and alignment are searched.
    """

    model: str = SMOLLM2
    corpus: str = "corpus:foldoc"
    slots: tuple[int, ...] = (720,)
    passages: int = 240
    steps: int = 120
    batch_size: int = 8
    selector: str = "memory3"
    prefix: str = "Reference:"
    seed: int = 0
    dtype: str = "auto"
    device: str = DEVICE

    def __post_init__(self) -> None:
        for name in ("passages", "steps", "batch_size"):
            require_count(getattr(self, name), name)
        for name in ("model", "corpus", "selector", "dtype", "device"):
            require_name(getattr(self, name), name)
        for size in self.slots:
            require_count(size, "slots")
        if not self.slots or len(set(self.slots)) < len(self.slots):
            raise ConfigError(f"slots must be one or more different numbers, not {self.slots}.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"slots": list(self.slots)}
