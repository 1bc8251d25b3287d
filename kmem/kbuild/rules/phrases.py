"""Phrases of pages that were never written to be read: placeholder text, notices to the visitor."""

import re
from collections.abc import Callable

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
_PARTS = ("policy", "terms of ", "rights reserved", "cookies", "版权所有", "隐私政策", "服务条款")


def _share_of_lines(view: View, parts: tuple[str, ...], says: Callable[[str], object]) -> float:
    """The lines that say it, looked for only where the text has one of the parts: to look for those is fast."""
    text = view.lower
    if not any(part in text for part in parts):
        return 0.0
    return sum(bool(says(line)) for line in text.split("\n")) / view.figures[LINES]


def _policy(line: str) -> bool:
    return any(phrase in line for phrase in _POLICIES)


LOREM_IPSUM = Rule(name="lorem-ipsum", figure=lambda view: view.lower.count("lorem ipsum"), most=0, source="C4")
JAVASCRIPT = Rule(
    name="javascript",
    figure=lambda view: _share_of_lines(view, ("javascript",), _SCRIPT.search),
    most=0.1,
    source="C4, which cuts such lines out",
)
POLICIES = Rule(
    name="policies", figure=lambda view: _share_of_lines(view, _PARTS, _policy), most=0.1, source="C4, which cuts such lines out"
)
