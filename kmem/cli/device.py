"""A device that no machine has is told at once, before torch is imported, which takes seconds."""

from kmem.errors import ConfigError

KINDS = ("cpu", "cuda", "mps", "xpu")
"""What torch calls devices that a model can run on; whether this machine has one, loading the model says."""


def known_device(name: str) -> str:
    """The name of a device, for an option's callback. Raises ConfigError for one of no kind in KINDS."""
    if name.partition(":")[0] not in KINDS:
        raise ConfigError(f"Device {name!r} is none of {', '.join(KINDS)}; give 'cpu', or 'cuda' where PyTorch finds a GPU.")
    return name
