"""Phrases of pages that were never written to be read: placeholder text, notices to the visitor."""

import re

from kmem.kbuild.rules.places import LINES
from kmem.kbuild.rules.rule import Rule
from kmem.kbuild.rules.view import View

_SCRIPT = re.compile(
    r"(?:enable|activate|allow|turn(?:ing)? on|requires?|without|disabled|启用|开启|打开|需要|禁用|支持)[^\n]{0,40}javascript"
    r"|javascript[^\n]{0,40}(?:enabled|disabled|required|turned (?:on|off)|启用|开启|禁用|关闭)"
)
_POLICIES = (
    *("privacy policy", "cookie policy", "terms of use", "terms of service", "all rights reserved"),
    *("uses cookies", "use cookies", "use of cookies", "using cookies"),
    *("版权所有", "隐私政策", "服务条款"),
)


def _share_of_lines(view: View, phrases: tuple[str, ...], pattern: re.Pattern[str] | None = None) -> float:
    """The lines with one of the phrases, and with the pattern if there is one."""
    text = view.lower
    if not any(phrase in text for phrase in phrases):  # nearly always, and fast
        return 0.0
    said = [line for line in text.split("\n") if any(phrase in line for phrase in phrases)]
    return sum(pattern is None or pattern.search(line) is not None for line in said) / view.figures[LINES]


LOREM_IPSUM = Rule(name="lorem-ipsum", figure=lambda view: view.lower.count("lorem ipsum"), most=0, source="C4")
JAVASCRIPT = Rule(
    name="javascript",
    figure=lambda view: _share_of_lines(view, ("javascript",), _SCRIPT),
    most=0.1,
    source="C4, which cuts such lines out",
)
POLICIES = Rule(name="policies", figure=lambda view: _share_of_lines(view, _POLICIES), most=0.1, source="C4, which cuts such lines out")
