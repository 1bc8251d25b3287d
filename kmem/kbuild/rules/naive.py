"""What counting.py counts, in Python's own words; kept for comparison."""

import unicodedata
from collections import Counter

from kmem.kbuild.rules.alphabet import SPACELESS, alphabet
from kmem.kbuild.rules.places import LONGEST_PHRASE, SHORT_LINE


def naive_units(text: str) -> list[str]:
    """The units of a text in small letters, in order."""
    spaced = "".join(
        f" {character} " if _is_spaceless(character) else character if unicodedata.category(character)[0] in "LMN" else " "
        for character in text
    )
    return ["".join(small if len(small := character.lower()) == 1 else character for character in unit) for unit in spaced.split()]


def naive_phrases(units: list[str], step: int) -> tuple[list[int], list[int]]:
    """(top [11], repeated [11]) of `counting.phrases`."""
    top, repeated = [0] * (LONGEST_PHRASE + 1), [0] * (LONGEST_PHRASE + 1)
    for words in range(2, LONGEST_PHRASE + 1):
        size = words * step
        phrases = [tuple(units[start : start + size]) for start in range(len(units) - size + 1)]
        counts, seen, covered = Counter(phrases), set(), set()
        for start, phrase in enumerate(phrases):
            if phrase in seen:
                covered |= set(range(start, start + size))
            seen.add(phrase)
        top[words] = max((count * len("".join(phrase)) for phrase, count in counts.items() if count > 1), default=0)
        repeated[words] = sum(len(units[index]) for index in covered)
    return top, repeated


def naive_lines(text: str) -> tuple[int, int, int, int, int, int]:
    """Lines, short ones, those seen before and their characters; paragraphs, those seen before."""
    paragraphs: list[list[str]] = [[]]
    for line in (line.strip() for line in text.split("\n")):
        if line:
            paragraphs[-1].append(line)
        else:
            paragraphs.append([])
    paragraphs = [paragraph for paragraph in paragraphs if paragraph]
    lines = [line for paragraph in paragraphs for line in paragraph]
    again = [line for number, line in enumerate(lines) if line in lines[:number]]
    short = sum(len(line) + sum(map(_is_spaceless, line)) <= SHORT_LINE for line in lines)
    twice = sum(paragraph in paragraphs[:number] for number, paragraph in enumerate(paragraphs))
    return len(lines), short, len(again), sum(map(len, again)), len(paragraphs), twice


def _is_spaceless(character: str) -> bool:
    return bool(alphabet()[0][ord(character)] == SPACELESS)
