"""Nothing to read: no text, no word in it, or bytes that never were text."""

from kmem.kbuild.rules.alphabet import CONTROL, REPLACEMENT
from kmem.kbuild.rules.rule import LIGHT, WEB, Rule
from kmem.kbuild.rules.view import View

BOTH = (LIGHT, WEB)

EMPTY = Rule(name="empty", figure=lambda view: view.shown, least=1, source="kmem: whitespace alone", presets=BOTH)
WORDLESS = Rule(name="wordless", figure=lambda view: view.alphanumeric, least=1, source="kmem: neither letter nor digit", presets=BOTH)


def _share(kind: int, view: View) -> float:
    return view.counts[kind] / len(view.text) if view.text else 0.0


CONTROL_CHARACTERS = Rule(
    name="control-characters",
    figure=lambda view: _share(CONTROL, view),
    most=0.1,
    source="kmem: binary data; random bytes as Latin-1 have a quarter",
    presets=BOTH,
)
REPLACEMENT_CHARACTERS = Rule(
    name="replacement-characters",
    figure=lambda view: _share(REPLACEMENT, view),
    most=0.1,
    source="kmem: another encoding read as UTF-8; German in Latin-1 has 2%, Chinese in GBK over half",
    presets=BOTH,
)
