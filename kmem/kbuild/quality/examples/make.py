"""Texts of packages → excerpts with labels: 1 for prose that says something, 0 for what stands around it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random
from textwrap import fill
from typing import Any

from kmem.kbuild.quality.alphabet import HAN, kind_of
from kmem.kbuild.quality.examples.config import ExamplesConfig
from kmem.kbuild.quality.examples.origins import ENGLISH, Origin, origins

_HEADING = 60
"""Characters; a shorter paragraph is a heading, a caption or a menu's entry."""
_MARGIN = 3
"""Texts read for each excerpt that is kept, so that they come from all over an origin."""


def examples(config: ExamplesConfig | None = None) -> Iterator[dict[str, Any]]:
    """`{"text", "label", "source", "language", "licence"}` of every excerpt, fetching packages. Raises SourceNotFoundError.

    Excerpts of both labels are as long, and laid out in the same ways, so that neither is evidence.
    """
    config = config or ExamplesConfig()
    for origin, texts in origins():
        random = Random(f"{config.seed} {origin.source} {origin.label}")
        for text in excerpts(texts, origin, config, random):
            yield _row(laid_out(text, origin, random), origin)


def laid_out(text: str, origin: Origin, random: Random) -> str:
    """As it is, or all on one line, or wrapped and indented as in plain text files: a third each."""
    layout = random.randrange(3)
    if layout == 0:
        return text
    joined = " ".join(text.split())
    if layout == 1:
        return joined
    indent = " " * random.choice((0, 0, 3, 4))
    if origin.language == ENGLISH:
        width = random.randint(60, 90)
        return "\n\n".join(fill(line, width, initial_indent=indent, subsequent_indent=indent) for line in text.split("\n"))
    width = random.randint(30, 45)
    return "\n".join(indent + joined[start : start + width] for start in range(0, len(joined), width))


def excerpts(texts: Iterable[str], origin: Origin, config: ExamplesConfig, random: Random) -> list[str]:
    """At most `each`: paragraphs joined up to a length drawn for each; a longer text gives the part from a random line on."""
    scale = 1 if origin.language == ENGLISH else 2
    pool = [text for text in texts if _fits(text, origin)]
    if origin.label:
        pool = _joined(pool, config, scale, random)
    found: Counter[str] = Counter()
    for _ in range(_MARGIN * config.each):
        if len(found) == config.each or not pool:
            break
        wanted = random.randint(config.least, config.most) // scale
        found[_cut(random.choice(pool), wanted, random, from_start=bool(origin.label))] = 1
    return [text for text in found if len(text) >= config.least // scale // 2]


def _fits(text: str, origin: Origin) -> bool:
    """Chinese that is: packages of translations hold much that was never translated."""
    if origin.language == ENGLISH or not text:
        return bool(text)
    some = text[:2000]
    return sum(kind_of(character) == HAN for character in some) > len(some) / 4


def _joined(paragraphs: Iterable[str], config: ExamplesConfig, scale: int, random: Random) -> list[str]:
    """Consecutive paragraphs together up to a length drawn anew each time. What is repeated, or a heading, is no prose."""
    texts, held, wanted = [], "", random.randint(config.least, config.most) // scale
    for paragraph in dict.fromkeys(paragraphs):
        if len(paragraph) < _HEADING // scale:
            continue
        held = f"{held}\n{paragraph}" if held else paragraph
        if len(held) >= wanted:
            texts.append(held)
            held, wanted = "", random.randint(config.least, config.most) // scale
    return texts


def _cut(text: str, wanted: int, random: Random, *, from_start: bool) -> str:
    """About so many characters from the start or a random line on, whole lines, and whole words where a line is longer."""
    start = 0 if from_start or len(text) <= wanted else random.randrange(len(text) - wanted)
    start = start and max(text.find("\n", start) + 1, 0)
    piece = text[start : start + wanted]
    if start + wanted < len(text):
        breaks = max(piece.rfind("\n"), piece.rfind(" "), piece.rfind("。") + 1)
        piece = piece[: breaks if breaks > wanted // 2 else wanted]
    return piece.strip()


def _row(text: str, origin: Origin) -> dict[str, Any]:
    return {"text": text, "label": origin.label, "source": origin.source, "language": origin.language, "licence": origin.licence}
