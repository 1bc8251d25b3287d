"""A sentence without the words of a title, so that it doesn't name what is looked for."""

import re
import unicodedata

from kmem.words import SPACELESS

_PART = 4
"""Letters from which on a title's word is looked for inside longer words, and a text's word as the beginning of a title's."""
_WORD = re.compile(rf"[^\W_{SPACELESS}]+(?:['’][^\W_{SPACELESS}]+)*")
_RUN = re.compile(f"[{SPACELESS}]+")
_POSSESSIVE = ("'s", "’s")
_ENDINGS = ("ings", "ing", "ers", "er", "ed", "es", "s")


def mask(sentence: str, title: str) -> str:
    """The sentence without every word that the title has in some form, and with single spaces.

    Case, accents and English endings don't count (memory, Memories; program, programming), nor does what a word of the title is glued to
    (file, filesystem) when it has four letters. The title's initials go, too, with and without its small words (Wireless Local Loop,
    WLL). Scripts without spaces lose every two neighbours that are neighbours in the title.
    """
    parts = _WORD.findall(title)
    names = [_plain(word) for word in (*parts, *_initials(parts))]
    spaceless = _RUN.findall(title)
    shown = _WORD.sub(lambda match: " " if _names(_plain(match.group()), names) else match.group(), sentence)
    return " ".join(_RUN.sub(lambda match: _unnamed(match.group(), spaceless), shown).split())


def _initials(parts: list[str]) -> list[str]:
    """Of three words and more: two letters are too often something else."""
    large = [part for part in parts if not part.islower()] or parts
    return ["".join(part[0] for part in some) for some in (parts, large) if len(some) >= 3]


def _names(word: str, names: list[str]) -> bool:
    return any(_stem(word) == _stem(name) or _holds(word, name) for name in names)


def _holds(word: str, name: str) -> bool:
    """Whether either begins with the other, or the word has the name inside, in four letters or more."""
    inside = any(len(part) >= _PART and part in word for part in (name, _stem(name)))
    return inside or (len(word) >= _PART and name.startswith(word))


def _plain(word: str) -> str:
    """Without case, accents and a possessive's end."""
    bare = next((word[: -len(end)] for end in _POSSESSIVE if word.casefold().endswith(end)), word)
    return "".join(letter for letter in unicodedata.normalize("NFKD", bare.casefold()) if not unicodedata.combining(letter))


def _stem(plain: str) -> str:
    """Without one English ending, a y for an i, a double consonant single: enough to compare, not to read."""
    ending = next((ending for ending in _ENDINGS if plain.endswith(ending) and len(plain) - len(ending) >= 3), "")
    stem = plain.removesuffix(ending).rstrip("e") if len(plain) > 3 else plain
    if stem.endswith("i"):
        stem = f"{stem[:-1]}y"
    return stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem


def _unnamed(run: str, titles: list[str]) -> str:
    """The run with a space for what a run of the title has, too: two characters or more, or one where the title has but one."""
    named = [False] * len(run)
    pairs = {title[place : place + 2] for title in titles for place in range(max(1, len(title) - 1))}
    for pair in pairs:
        for match in re.finditer(f"(?={pair})", run):
            named[match.start() : match.start() + len(pair)] = [True] * len(pair)
    return "".join(" " if hidden else character for character, hidden in zip(run, named, strict=True))
