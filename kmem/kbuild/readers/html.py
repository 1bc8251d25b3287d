"""HTML: the main text of a page. Scripts, styles, navigation and controls are left out; `<main>` wins where there is one."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser

from kmem.document import Document
from kmem.errors import UnreadableError
from kmem.kbuild.readers.decode import one_line, sample
from kmem.kbuild.readers.reading import Reading
from kmem.kbuild.readers.whole import read_whole

_DROPPED = {"script", "style", "noscript", "template", "nav", "aside", "footer", "button", "select", "svg", "math", "iframe"}
_CODE = {"script", "style"}
_PARAGRAPH = {"p", "div", "section", "article", "main", "header", "ul", "ol", "dl", "table", "blockquote", "pre", "figure", "hr", "body"}
_PARAGRAPH |= {"form", "fieldset", "nav", "aside", "footer"}
_HEADING = {"h1", "h2", "h3", "h4", "h5", "h6"}
_LINE = {"br", "li", "tr", "dt", "dd", "figcaption", "caption", "address", "summary", "details"}
_CELL = {"td", "th"}


class _Page(HTMLParser):
    """Collects text pieces; `depth` counts the open tags that change what happens to text.

    A dropped element takes back its pieces where it ends, so one that is never closed drops nothing.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.pieces: list[tuple[str, bool]] = []
        self.dropped: list[tuple[str, int]] = []
        self.depth: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break(tag)
        self.depth[tag] += 1
        if tag in _DROPPED:
            self.dropped.append((tag, len(self.pieces)))

    def handle_endtag(self, tag: str) -> None:
        self.depth[tag] = max(0, self.depth[tag] - 1)
        if any(tag == dropped for dropped, _ in self.dropped):
            inner = ""
            while inner != tag:  # what is still open inside ends with it
                inner, start = self.dropped.pop()
            del self.pieces[start:]
        self._break(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break(tag)  # `<script/>` opens nothing that would be closed

    def handle_data(self, data: str) -> None:
        if self.dropped and self.dropped[-1][0] in _CODE:
            return
        if self.depth["title"]:
            self.title += "" if self.dropped else data
        elif self.depth["pre"]:
            self._add(data)
        else:
            text = re.sub(r"\s+", " ", data)
            self._add(text.lstrip(" ") if not self.pieces or self.pieces[-1][0][-1].isspace() else text)

    def _break(self, tag: str) -> None:
        self._add("\n\n" if tag in _PARAGRAPH | _HEADING else "\n" if tag in _LINE else "")
        if tag in _CELL:
            self.handle_data(" ")

    def _add(self, text: str) -> None:
        if text:
            self.pieces.append((text, self.depth["main"] > 0))


def _tidy(pieces: Iterable[str]) -> str:
    text = re.sub(r"[ \t]+\n", "\n", "".join(pieces))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def read_html(reading: Reading) -> Iterator[Document]:
    """The page as one document, paragraphs parted by an empty line; the title is that of `<title>`."""
    page, markup = _Page(), read_whole(reading)
    try:
        page.feed(markup)
        page.close()
    except AssertionError as error:  # how html.parser rejects a malformed `<![` section
        raise UnreadableError(
            "not HTML", f"{reading.name} is not HTML that can be parsed ({error}): repair it or save it as .txt.", sample(markup)
        ) from error
    main = _tidy(text for text, in_main in page.pieces if in_main)
    yield Document(source=reading.name, text=main or _tidy(text for text, _ in page.pieces), title=one_line(page.title))
