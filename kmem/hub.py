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
