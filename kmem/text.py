"""Text from people: what can be asked with, and what a terminal may be shown."""

from kmem.errors import ConfigError, WrongTypeError


def require_text(text: str, name: str) -> None:
    """Raise ConfigError for text that is empty or holds bytes that were no UTF-8, WrongTypeError for what is no text.

    `name`, as in "query" or "prompt", is how the error calls it.
    """
    if not isinstance(text, str):
        raise WrongTypeError(f"The {name} must be a string, not {type(text).__name__}.")
    if not text.strip():
        raise ConfigError(f"The {name} is empty; say what to ask.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"The {name} {text!r:.60} is not UTF-8 text (character {error.start}): type it again in UTF-8.") from None


def printable(text: str) -> str:
    """The text with control characters, which can move the cursor or hide what follows, replaced; line ends and tabs stay."""
    return "".join(
        "\ufffd" if (character < " " and character not in "\n\t") or "\x7f" <= character < "\xa0" else character for character in text
    )
