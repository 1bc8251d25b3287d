"""Nothing wraps and nothing turns infinite unseen: what a quantiser can't hold is named."""

from torch import Tensor

from kmem.errors import ConfigError


def require_finite(kv: Tensor, name: str, limit: float) -> None:
    """Raises ConfigError naming the first value that is NaN or larger in magnitude than `limit`."""
    fits = kv.abs() <= limit  # False for NaN too
    if not bool(fits.all()):
        value = float(kv[~fits][0])
        raise ConfigError(
            f"Quantiser {name!r} can't store {value:g}: it holds finite numbers up to {limit:g}; "
            "use --quantiser bf16 or fp32, and look for what made the model overflow."
        )
