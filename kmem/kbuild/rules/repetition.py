"""What a document says again: whole lines, whole paragraphs, phrases (Gopher, table A1; FineWeb)."""

from kmem.kbuild.rules import places as of
from kmem.kbuild.rules.rule import Rule
from kmem.kbuild.rules.view import View

_GOPHER = "Gopher, table A1"


def _share(count: int, total: int, view: View) -> float:
    return view.figures[count] / view.figures[total] if view.figures[total] else 0.0


def _top(words: int, view: View) -> float:
    return view.phrases[0][words] / view.alphanumeric if view.alphanumeric else 0.0


def _repeated(words: int, view: View) -> float:
    return view.phrases[1][words] / view.alphanumeric if view.alphanumeric else 0.0


def _phrase(words: int) -> Rule:
    most = {2: 0.20, 3: 0.18, 4: 0.16}[words]
    return Rule(name=f"top-{words}-gram", figure=lambda view: _top(words, view), most=most, source=_GOPHER)


def _phrases(words: int) -> Rule:
    most = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}[words]
    return Rule(name=f"duplicate-{words}-grams", figure=lambda view: _repeated(words, view), most=most, source=_GOPHER)


DUPLICATE_LINES = Rule(name="duplicate-lines", figure=lambda view: _share(of.TWICE_LINES, of.LINES, view), most=0.3, source=_GOPHER)
DUPLICATE_LINE_CHARACTERS = Rule(
    name="duplicate-line-characters",
    figure=lambda view: _share(of.TWICE_LINE_CHARACTERS, of.LINE_CHARACTERS, view),
    most=0.1,
    source="FineWeb's paper; Gopher 0.2, datatrove 0.01",
)
DUPLICATE_PARAGRAPHS = Rule(
    name="duplicate-paragraphs", figure=lambda view: _share(of.TWICE_PARAGRAPHS, of.PARAGRAPHS, view), most=0.3, source=_GOPHER
)
DUPLICATE_PARAGRAPH_CHARACTERS = Rule(
    name="duplicate-paragraph-characters",
    figure=lambda view: _share(of.TWICE_PARAGRAPH_CHARACTERS, of.LINE_CHARACTERS, view),
    most=0.2,
    source=_GOPHER,
)
TOP_GRAMS = tuple(_phrase(words) for words in (2, 3, 4))
DUPLICATE_GRAMS = tuple(_phrases(words) for words in (5, 6, 7, 8, 9, 10))
