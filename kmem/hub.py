"""The model hub, asked only where it answers: a machine without internet hears so within seconds, not after a minute of retries."""

import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from kmem.errors import ModelNotFoundError

ANSWER_S = 3.0
"""How long the hub may take to accept a connection."""


def located(name: str) -> tuple[str, bool]:
    """A folder's absolute path or a hub name, and whether it can only be looked for on this machine (the hub's cache included).

    Raises ModelNotFoundError for a path to nothing, which no hub could know.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder.resolve()), True
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise ModelNotFoundError(f"There is no model folder {name}: check the spelling, or say where it is now.")
    return name, not _hub_answers()


def require_known(name: str) -> None:
    """Raise ModelNotFoundError for a folder without a model, and for a name that this machine doesn't have where no hub can be asked.

    Nothing is loaded, not even torch.
    """
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
        said = f"There is no model {name!r} here, and no hub that answers"
        raise ModelNotFoundError(f"{said}: give {_names()}, or a folder with config.json.")


def _names() -> str:
    """Models that need no hub."""
    from kmem.encoder.defaults import GEMMA3, SMOLLM2
    from kmem.encoder.presets import PREFIX, PRESETS

    return ", ".join((SMOLLM2, GEMMA3, *(f"{PREFIX}{name}" for name in PRESETS)))


def _hub_answers() -> bool:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies().keys() - {"no"}:  # whether the hub answers is then the proxy's to say
        return True
    place = urlsplit(constants.ENDPOINT)
    port = place.port or (80 if place.scheme == "http" else 443)
    try:
        socket.create_connection((place.hostname or "", port), timeout=ANSWER_S).close()
    except OSError:
        return False
    return True
