"""What public functions are given: the right kind of object, or one sentence that says what was given instead."""

import os
from pathlib import Path
from typing import Any

from kmem.errors import ConfigError, WrongTypeError

MOST = 1 << 48
"""More than any count here can mean; what lies beyond is a slip of the keyboard."""


def require_text(text: object, name: str) -> None:
    """Raise ConfigError for text that is empty or holds bytes that were no UTF-8, WrongTypeError for what is no text.

    `name`, as in "query" or "prompt", is how the error calls it.
    """
    if not isinstance(text, str):
        raise WrongTypeError(f"The {name} must be a string, not {_named(text)}.")
    if not text.strip():
        raise ConfigError(f"The {name} is empty; say what to ask.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"The {name} {text!r:.60} is not UTF-8 text (character {error.start}): type it again in UTF-8.") from None


def require_count(value: object, name: str, *, least: int = 1) -> None:
    """Raise WrongTypeError unless `value` is a whole number, ConfigError unless it lies between `least` and MOST."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongTypeError(f"{name} must be a whole number, not {_named(value)}.")
    if not least <= value <= MOST:
        raise ConfigError(f"{name} must be at least {least}{'' if value < least else f' and at most {MOST}'}, not {value}.")


def require_name(value: object, name: str) -> None:
    """Raise WrongTypeError unless `value` is a string, ConfigError when it is empty."""
    if not isinstance(value, str):
        raise WrongTypeError(f"{name} must be a string, not {_named(value)}.")
    if not value:
        raise ConfigError(f"{name} is the empty string; give a name or a path.")


def path_of(value: Any, name: str) -> Path:
    """The path; raises WrongTypeError for what is none, ConfigError for an empty one or one with a NUL character."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise WrongTypeError(f"{name} must be a path, not {_named(value)}.")
    if not os.fspath(value).strip() or "\0" in os.fspath(value):
        raise ConfigError(f"{name} is {os.fspath(value)!r}, which is no path; name a folder.")
    return Path(value)


def path_or_url(value: Any, name: str) -> str | Path:
    """A URL (`s3://bucket/prefix`) as it is, anything else as `path_of` has it."""
    return value if isinstance(value, str) and "://" in value else path_of(value, name)


def _named(value: object) -> str:
    return "None" if value is None else f"{value!r:.40} ({type(value).__name__})"
