"""FOLDOC as benchmark articles: short explanations that a small model does not know by heart."""

import re
from pathlib import Path

from kmem.errors import SourceError
from kmem.kbuild.corpora import fetch_corpus
from kmem.kbuild.readers.dictd import dictionary_files, entries

FOLDOC = "corpus:foldoc"
_MIN_CHARACTERS = 150
_TAG = re.compile(r"<[^<>]*>")
_DATE = re.compile(r"\s*\(\d{4}-\d{2}-\d{2}\)\s*\Z")


def articles(index: Path | None = None, *, min_characters: int = _MIN_CHARACTERS) -> list[tuple[str, str]]:
    """(title, body) of every article whose body has over `min_characters`, in the dictionary's order.

    The title is the entry's first line, the body the rest without `{}`, `<…>` and the date at its end. `index` is FOLDOC's index
    file; without it the corpus is fetched.
    """
    path = index or fetch_corpus("foldoc")
    if dictionary_files(path) is None:
        raise SourceError(f"{index} is not one half of a dictionary: name foldoc.index with foldoc.dict.dz beside it.")
    parted = (entry.text.partition("\n") for entry in entries(str(path)))
    found = ((first.strip(), _body(rest)) for first, _, rest in parted)
    return [(title, body) for title, body in found if len(body) > min_characters]


def _body(text: str) -> str:
    # By paragraph, so that a lone `<` of a formula can't swallow the text up to some `>` paragraphs later.
    paragraphs = (_TAG.sub("", paragraph) for paragraph in re.split(r"\n\s*\n", text))
    stripped = re.sub(r"[{}]", "", "\n".join(paragraphs))
    # Single spaces throughout: the line breaks only wrap the dictionary's columns and would cost the model tokens.
    return " ".join(_DATE.sub("", stripped).split())
