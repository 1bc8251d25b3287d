"""What kind of lines a page has: lists, teasers, menus, lines that end no sentence."""

from kmem.kbuild.rules.alphabet import NEWLINE
from kmem.kbuild.rules.places import BULLETED, ENDED, LINES, SHORT, TRAILING
from kmem.kbuild.rules.rule import ABSTAIN, Rule
from kmem.kbuild.rules.view import View


def _of_lines(figure: int, view: View) -> float:
    return view.figures[figure] / view.figures[LINES] if view.figures[LINES] else ABSTAIN


BULLET_LINES = Rule(name="bullet-lines", figure=lambda view: _of_lines(BULLETED, view), most=0.9, source="Gopher")
ELLIPSIS_LINES = Rule(name="ellipsis-lines", figure=lambda view: _of_lines(TRAILING, view), most=0.3, source="Gopher")
SHORT_LINES = Rule(name="short-lines", figure=lambda view: _of_lines(SHORT, view), most=0.67, source="FineWeb")
ENDED_LINES = Rule(name="ended-lines", figure=lambda view: _of_lines(ENDED, view), least=0.12, source="C4's rule as FineWeb has it")
NEWLINES = Rule(
    name="newlines", figure=lambda view: view.counts[NEWLINE] / view.words if view.words else ABSTAIN, most=0.3, source="FineWeb"
)
