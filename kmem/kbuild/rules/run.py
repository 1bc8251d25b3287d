"""The step that applies rules to documents."""

from collections import Counter
from collections.abc import Iterable, Iterator

from kmem.document import Document
from kmem.kbuild.kept import kept
from kmem.kbuild.rules import RULES
from kmem.kbuild.rules.config import RulesConfig
from kmem.kbuild.rules.view import View


class Rules:
    """Keeps or drops documents as they are. The first rule that drops a document, in the order of RULES, is its reason."""

    def __init__(self, config: RulesConfig | None = None) -> None:
        self.config = config or RulesConfig()
        chosen = [(RULES[name], limit) for name, limit in self.config.limits.items()]
        self._rules = [(rule.name, rule.figure, limit, rule.most is not None) for rule, limit in chosen]

    def verdict(self, text: str) -> str | None:
        """The name of the rule that drops this text, None when it is kept."""
        if not self._rules:
            return None
        view = View(text)
        for name, figure, limit, above in self._rules:  # Rule.drops without a call: this runs forty times a document
            value = figure(view)
            if value > limit if above else value < limit:
                return name
        return None

    def run(self, documents: Iterable[Document], counts: Counter[str] | None = None) -> Iterator[Document]:
        """The documents that no rule drops, in order; `counts` receives `dropped: <rule>`."""
        return kept(documents, self.verdict, counts)


def figures(text: str) -> dict[str, float]:
    """What every rule sees in a text, by name, NaN where it abstains: for whoever sets limits."""
    view = View(text)
    return {name: float(rule.figure(view)) for name, rule in RULES.items()}
