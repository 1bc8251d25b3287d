"""How a model is loaded and encodes unless told otherwise; importable without torch."""

SMOLLM2 = "smollm2"
"""Name of the bundled model, which no folder of that name replaces."""
AUTO = "auto"
"""The profile that goes by the model's shape, the precision that goes by the processor."""
DTYPE = "float32"
DEVICE = "cpu"
BATCH_SIZE = 16
"""References a forward pass."""
