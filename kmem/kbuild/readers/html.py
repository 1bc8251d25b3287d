"""HTML: the main text of a page, by resiliparse. `<main>` wins where there is one; else what its rules take for the main text."""

from collections.abc import Iterator

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from kmem.document import Document
from kmem.kbuild.readers.decode import one_line
from kmem.kbuild.readers.reading import Reading
from kmem.kbuild.readers.whole import read_whole

_MAIN = 'main, [role="main"]'
_ENOUGH = 0.5
"""Share of a page's text below which the rules have taken the page for another kind, and all of it is kept."""


def read_html(reading: Reading) -> Iterator[Document]:
    """The page as one document, paragraphs parted by an empty line; the title is that of `<title>`."""
    page = HTMLTree.parse(read_whole(reading))
    text = _main_text(page) if reading.config.main_text else _text(page)
    yield Document(source=reading.name, text=text, title=one_line(page.title or ""))


def _main_text(page: HTMLTree) -> str:
    marked = page.body.query_selector(_MAIN) if page.body else None
    if marked is not None and (text := _text(HTMLTree.parse(marked.html))):
        return text
    main, whole = _text(page, main_content=True), _text(page)
    return main if len(main) > _ENOUGH * len(whole) else whole


def _text(page: HTMLTree, *, main_content: bool = False) -> str:
    text = extract_plain_text(page, main_content=main_content, alt_texts=False, links=False, form_fields=False, noscript=False)
    return str(text).strip()
