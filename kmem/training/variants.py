"""Which variants of B'MOJO's layer the recipes train; importable without torch."""

from kmem.errors import UnknownNameError

VARIANTS = ("bmojo", "bmojo_f", "random_m", "oldest_m", "ssm", "swa", "swa_wide", "hybrid", "transformer")


def require_variant(name: object) -> None:
    """Raise UnknownNameError for what is none of them."""
    if name not in VARIANTS:
        raise UnknownNameError("variant", str(name), VARIANTS)
