"""Whether there is a model of a name, told before torch is imported."""

from pathlib import Path

from kmem.encoder.defaults import GEMMA3, SMOLLM2
from kmem.encoder.named import parted
from kmem.encoder.presets import PREFIX, PRESETS
from kmem.errors import ModelNotFoundError
from kmem.hub import located


def require_known(name: str) -> None:
    """Raise ModelNotFoundError for a folder without a model, and for a name that this machine doesn't have where no hub can be asked."""
    name, _ = parted(name)
    place, local = located(name)
    if Path(place).is_absolute():
        found = (Path(place) / "config.json").exists()
    else:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            found = not local or isinstance(try_to_load_from_cache(place, "config.json"), str)
        except HFValidationError:
            found = False
    if not found:
        names = ", ".join((SMOLLM2, GEMMA3, *(f"{PREFIX}{preset}" for preset in PRESETS)))
        said = f"There is no model {name!r} here, and no hub that answers"
        raise ModelNotFoundError(f"{said}: give {names}, or a folder with config.json.")
