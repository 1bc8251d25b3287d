"""Shares of letters, of the symbols of lists and tags, of the braces of code."""

from kmem.kbuild.rules.alphabet import BRACE, ELLIPSIS, HASH, LETTER, SPACELESS
from kmem.kbuild.rules.places import DOTS
from kmem.kbuild.rules.rule import ABSTAIN, Rule
from kmem.kbuild.rules.view import View


def _not_alphabetic(view: View) -> float:
    return 1 - (view.counts[LETTER] + view.counts[SPACELESS]) / view.shown if view.shown else ABSTAIN


def _by_word(count: int, view: View) -> float:
    return count / view.words if view.words else ABSTAIN


NON_ALPHABETIC = Rule(name="non-alphabetic", figure=_not_alphabetic, most=0.7, source="Memory³ §4")
HASHES = Rule(name="hashes", figure=lambda view: _by_word(view.counts[HASH], view), most=0.1, source="Gopher")
ELLIPSES = Rule(name="ellipses", figure=lambda view: _by_word(view.counts[ELLIPSIS] + view.counts[DOTS], view), most=0.1, source="Gopher")
CURLY_BRACKETS = Rule(
    name="curly-brackets", figure=lambda view: _by_word(view.counts[BRACE], view), most=0.1, source="C4, whose limit is 0"
)
