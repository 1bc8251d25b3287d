"""The machine that writes and reads: published peaks by name, or what the user says of his."""

import math
from dataclasses import dataclass, field

from kmem.errors import ConfigError, UnknownNameError

TERA, GIGA = 10**12, 10**9
LEAST, MOST = 1e-9, 1e30
"""What a machine may do, in the units of `Hardware`; beyond lie slips of the keyboard, whose quotients no float holds."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """flops: FLOP/s of the fastest matrix product. utilisation: the share of it that encoding reaches; kmem's reached 0.57 on two cores
    (docs/results/encode.json). disk_gb_per_s: 10⁹ bytes a second of reading memories from places at random. ram_gb: 10⁹ bytes.

    `facts`: how a measured machine was measured. Raises ConfigError for what is no number between LEAST and MOST, and a utilisation
    over 1.
    """

    name: str
    flops: float
    disk_gb_per_s: float
    ram_gb: float
    utilisation: float = 0.5
    facts: dict[str, object] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name in ("flops", "disk_gb_per_s", "ram_gb", "utilisation"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} must be a positive number, not {value}.")
            if not LEAST <= value <= MOST:
                raise ConfigError(f"{name} must lie between {LEAST:g} and {MOST:g}, not {value:g}.")
        if self.utilisation > 1:
            raise ConfigError(f"utilisation is a share of flops, at most 1, not {self.utilisation}.")

    @property
    def rate(self) -> float:
        """FLOP/s that encoding reaches."""
        return self.flops * self.utilisation

    def compute_s(self, flop: float) -> float:
        """Seconds of so many operations."""
        return flop / self.rate

    def load_s(self, size_bytes: float) -> float:
        """Seconds of reading so many bytes from the disk."""
        return size_bytes / (self.disk_gb_per_s * GIGA)


HARDWARE = {
    "a100": Hardware(name="a100", flops=312 * TERA, disk_gb_per_s=7.0, ram_gb=512),
    "h100": Hardware(name="h100", flops=989 * TERA, disk_gb_per_s=14.0, ram_gb=1024),
}
"""NVIDIA's dense bfloat16 figures of the SXM cards (the paper's A800 computes as an A100 does), a PCIe 4 or 5 NVMe drive, RAM that servers
with them have.
"""


def hardware(name: str) -> Hardware:
    """The hardware of that name; raises UnknownNameError listing the others."""
    if name not in HARDWARE:
        raise UnknownNameError("hardware", name, list(HARDWARE))
    return HARDWARE[name]
