"""Markdown: the text as written, less its front matter; the first heading is the title."""

import re
from collections.abc import Iterator

from kmem.document import Document
from kmem.kbuild.readers.decode import one_line
from kmem.kbuild.readers.reading import Reading
from kmem.kbuild.readers.whole import read_whole

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_TITLE = re.compile(r"^title:[ \t]*[\"']?(.+?)[\"']?[ \t]*$", re.MULTILINE)
_FENCED_CODE = re.compile(r"^ {0,3}(`{3,}|~{3,}).*?(?:^ {0,3}\1|\Z)", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)(?:[ \t]+#+)?[ \t]*$|^ {0,3}(\S.*)\n {0,3}(?:=+|-{2,})[ \t]*$", re.MULTILINE)


def read_markdown(reading: Reading) -> Iterator[Document]:
    """The file as one document; a front matter's `title:` serves when there is no heading."""
    text = read_whole(reading)
    front = _FRONT_MATTER.match(text)
    body = text[front.end() :] if front else text
    heading = _HEADING.search(_FENCED_CODE.sub("", body))
    named = _FRONT_TITLE.search(front[1]) if front else None
    title = (heading[1] or heading[2]) if heading else named[1] if named else ""
    yield Document(source=reading.name, text=body, title=one_line(title))
