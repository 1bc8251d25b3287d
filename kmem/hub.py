"""The model hub, asked only where it answers: a machine without internet hears so at once, not after a minute of retries."""

import socket
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from kmem.errors import ModelNotFoundError

ANSWER_S = 3.0
"""How long the hub may take to accept a connection."""


def only_local(name: str) -> bool:
    """Whether `name`, a folder or a hub name, can only be looked for on this machine (which includes the hub's cache).

    Raises ModelNotFoundError for a path to nothing, which no hub could know.
    """
    if Path(name).expanduser().is_dir():
        return True
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise ModelNotFoundError(f"There is no model folder {name}: check the spelling, or say where it is now.")
    return not _hub_answers()


@cache
def _hub_answers() -> bool:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies():  # whether the hub answers is then the proxy's to say
        return True
    place = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((place.hostname or "", place.port or 443), timeout=ANSWER_S).close()
    except OSError:
        return False
    return True
