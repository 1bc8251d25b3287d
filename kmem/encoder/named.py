"""A model and an adapter in one name, `smollm2 + runs/mine`, which loads both again wherever a model is named; importable without torch."""

from pathlib import Path

from kmem.errors import ConfigError

PLUS = " + "


def parted(name: str) -> tuple[str, str | None]:
    """The model's own name, and its adapter's folder where one is named. A folder that is called so is a model."""
    if PLUS not in name or Path(name).expanduser().is_dir():
        return name, None
    model, _, adapter = name.partition(PLUS)
    return model.strip(), adapter.strip()


def with_adapter(model: str, adapter: str | None) -> str:
    """The name of both. Raises ConfigError where the model's name has another adapter already."""
    if adapter is None:
        return model
    base, own = parted(model)
    if own is not None:
        raise ConfigError(f"{model!r} names an adapter already: leave out one of the two.")
    return f"{base}{PLUS}{adapter}"
