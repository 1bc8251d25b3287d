"""How many words, how long, how varied. What can't be told from fewer than 50 words is left to `min-words`."""

from kmem.kbuild.rules.places import DISTINCT, ENTROPY, LETTERED, STOP_WORDS, TOKENS
from kmem.kbuild.rules.rule import ABSTAIN, Rule
from kmem.kbuild.rules.view import View

_ENOUGH = 50


def _length(view: View) -> float:
    return view.words_mean_length if view.spaced_words and view.is_spaced else ABSTAIN


def _of_many(view: View, figure: int) -> float:
    return view.figures[figure] if len(view.units[0]) >= _ENOUGH else ABSTAIN


MIN_WORDS = Rule(name="min-words", figure=lambda view: view.words, least=50, source="Memory³ §4; Gopher")
MAX_WORDS = Rule(name="max-words", figure=lambda view: view.words, most=100_000, source="Gopher; drops books", presets=())
MIN_WORD_LENGTH = Rule(name="min-word-length", figure=_length, least=3, source="Gopher")
MAX_WORD_LENGTH = Rule(name="max-word-length", figure=_length, most=10, source="Memory³ §4; Gopher")
MIN_UNIQUE_WORDS = Rule(
    name="min-unique-words", figure=lambda view: _of_many(view, DISTINCT), least=0.3, source="kmem; RedPajama-V2's signal, by blocks"
)
MAX_UNIQUE_WORDS = Rule(
    name="max-unique-words", figure=lambda view: _of_many(view, DISTINCT), most=0.95, source="Memory³ §4; limit kmem's, by blocks"
)
MIN_ENTROPY = Rule(
    name="min-entropy", figure=lambda view: _of_many(view, ENTROPY), least=3, source="Memory³ §4; RedPajama-V2's signal, limit kmem's"
)
ALPHABETIC_WORDS = Rule(
    name="alphabetic-words",
    figure=lambda view: view.counts[LETTERED] / view.counts[TOKENS] if view.counts[TOKENS] else ABSTAIN,
    least=0.8,
    source="Gopher",
)
MIN_STOP_WORDS = Rule(name="stop-words", figure=lambda view: view.figures[STOP_WORDS], least=2, source="Gopher; other languages kmem's")
