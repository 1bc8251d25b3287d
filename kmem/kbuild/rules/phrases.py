"""Phrases of pages that were never written to be read: placeholder text, notices to the visitor."""

import re
from collections.abc import Callable

from kmem.kbuild.rules.rule import Rule
from kmem.kbuild.rules.view import View

_SCRIPT = re.compile(
    r"(?:enable|activate|allow|turn(?:ing)? on|requires?|without|disabled|启用|开启|打开|需要|禁用|支持)[^\n]{0,40}javascript"
    r"|javascript[^\n]{0,40}(?:enabled|disabled|required|turned (?:on|off)|启用|开启|禁用|关闭)"
)
_POLICY = re.compile(
    r"privacy policy|cookie policy|terms of (?:use|service)|us(?:es?|ing|e of) cookies|all rights reserved|版权所有|隐私政策|服务条款"
)


def _lines_with(needles: tuple[str, ...], pattern: re.Pattern[str]) -> Callable[[View], float]:
    """The share of a text's lines that match; `needles`, one of which is in every match, are looked for first, since that is fast."""

    def share(view: View) -> float:
        text = view.lower
        if not any(needle in text for needle in needles):
            return 0.0
        lines = [line for line in text.split("\n") if line.strip()]
        return sum(pattern.search(line) is not None for line in lines) / len(lines)

    return share


LOREM_IPSUM = Rule(name="lorem-ipsum", figure=lambda view: view.lower.count("lorem ipsum"), most=0, source="C4")
JAVASCRIPT = Rule(name="javascript", figure=_lines_with(("javascript",), _SCRIPT), most=0.1, source="C4, which cuts such lines out")
POLICIES = Rule(
    name="policies",
    figure=_lines_with(("policy", "terms of", "cookies", "rights reserved", "版权", "隐私", "条款"), _POLICY),
    most=0.1,
    source="C4, which cuts such lines out",
)
