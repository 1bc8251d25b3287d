"""HTML: the main text of a page. Scripts, styles, navigation and forms are left out; `<main>` wins where there is one."""

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from kmem.errors import SourceError
from kmem.kbuild.document import Document
from kmem.kbuild.readers.decode import one_line, read_utf8

_DROPPED = {"script", "style", "noscript", "template", "nav", "aside", "footer", "form", "button", "select", "svg", "math", "iframe"}
_PARAGRAPH = {"p", "div", "section", "article", "main", "header", "ul", "ol", "dl", "table", "blockquote", "pre", "figure", "hr", "body"}
_HEADING = {"h1", "h2", "h3", "h4", "h5", "h6"}
_LINE = {"br", "li", "tr", "dt", "dd", "figcaption", "caption", "address", "summary", "details"}
_CELL = {"td", "th"}


class _Page(HTMLParser):
    """Collects text pieces; `depth` counts the open tags that change what happens to text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.pieces: list[str] = []
        self.main: list[str] = []
        self.depth: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open(tag, 1)

    def handle_endtag(self, tag: str) -> None:
        self._open(tag, -1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break(tag)  # `<script/>` opens nothing that would be closed

    def handle_data(self, data: str) -> None:
        if self.depth["dropped"]:
            return
        if self.depth["title"]:
            self.title += data
        elif self.depth["pre"]:
            self._add(data)
        else:
            text = re.sub(r"\s+", " ", data)
            self._add(text.lstrip(" ") if not self.pieces or self.pieces[-1][-1].isspace() else text)

    def _open(self, tag: str, step: int) -> None:
        self._break(tag)
        kind = "dropped" if tag in _DROPPED else tag
        self.depth[kind] = max(0, self.depth[kind] + step)

    def _break(self, tag: str) -> None:
        self._add("\n\n" if tag in _PARAGRAPH | _HEADING else "\n" if tag in _LINE else "")
        if tag in _CELL:
            self.handle_data(" ")

    def _add(self, text: str) -> None:
        if text:
            self.pieces.append(text)
            if self.depth["main"]:
                self.main.append(text)


def _tidy(pieces: list[str]) -> str:
    text = re.sub(r"[ \t]+\n", "\n", "".join(pieces))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def read_html(path: Path, counts: Counter[str]) -> Iterator[Document]:
    """The page as one document, paragraphs parted by an empty line; the title is that of `<title>`."""
    page = _Page()
    try:
        page.feed(read_utf8(path))
        page.close()
    except AssertionError as error:  # how html.parser rejects a malformed `<![` section
        raise SourceError(f"{path} is not HTML that can be parsed ({error}): repair it or save it as .txt.") from error
    yield Document(source=str(path), text=_tidy(page.main) or _tidy(page.pieces), title=one_line(page.title))
