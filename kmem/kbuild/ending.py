"""cuts.cut as machine code: the same end of a chunk, found in code points."""

from kmem.jit import compiled
from kmem.kbuild.tokens.alphabet import BLANK, WORD

_LOOKAHEAD = 64
_NEWLINE, _STOP, _SMALL_A, _SMALL_Z = 10, ord("."), ord("a"), ord("z")


@compiled
def ending(points, start, end, after, stop, classes):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    """The best end, above `after` and at most `end`, of a chunk from `start` of the text points[1:stop]; `end` when there is no better."""
    middle = max(start + (end - start) // 2, after)
    far = min(end + _LOOKAHEAD, stop)
    last = min(end, stop - 1)
    for kind in range(5):
        for at in range(last, middle - 1, -1):
            found = _boundary(points, at, far, kind, classes)
            if middle < found <= end:
                return found
    for at in range(last, middle, -1):
        if classes[points[at]] & BLANK:
            return at
    return end


@compiled
def _boundary(points, at, far, kind, classes):  # type: ignore[no-untyped-def]
    """Where a boundary of this kind that begins at `at` ends, or 0. Kinds: paragraph, sentence, clause, pause, item."""
    point = points[at]
    if kind == 0:
        return at if point == _NEWLINE and _is_paragraph(points, at, far, classes) else 0
    if kind == 1:
        if point in (0x3002, 0xFF01, 0xFF1F, 0xFF61):  # 。！？｡
            return _chinese_closed(points, at + 1, far)
        if point in (0x21, 0x3F, 0x2026) or (point == _STOP and not _is_initial(points, at, classes)):  # ! ? …
            return _sentence(points, at + 1, far, classes)
        return 0
    if kind == 2:
        return _chinese_closed(points, at + 1, far) if point == 0xFF1B else 0  # ；
    if kind == 3:
        return _chinese_closed(points, at + 1, far) if point in (0xFF0C, 0xFF1A) else 0  # ，：
    return at + 1 if point == 0x3001 else 0  # 、


@compiled
def _is_paragraph(points, at, far, classes):  # type: ignore[no-untyped-def]
    """Whether the line after this newline is empty."""
    at += 1
    while at < far and points[at] != _NEWLINE and classes[points[at]] & BLANK:
        at += 1
    return at < far and points[at] == _NEWLINE


@compiled
def _is_initial(points, at, classes):  # type: ignore[no-untyped-def]
    """Whether a single letter or digit stands before."""
    return classes[points[at - 1]] & WORD and (at < 2 or not classes[points[at - 2]] & WORD)


@compiled
def _sentence(points, at, far, classes):  # type: ignore[no-untyped-def]
    """The end behind closing quotes and brackets, where whitespace and then no small letter follows; else 0."""
    while at < far and _closes(points[at]):
        at += 1
    end = at
    while at < far and classes[points[at]] & BLANK:
        at += 1
    return end if end < at < far and not _SMALL_A <= points[at] <= _SMALL_Z else 0


@compiled
def _closes(point):  # type: ignore[no-untyped-def]
    # "'”’»)]
    return point in (0x22, 0x27, 0x201D, 0x2019, 0xBB, 0x29, 0x5D)


@compiled
def _chinese_closed(points, at, far):  # type: ignore[no-untyped-def]
    """Behind closing quotes and brackets."""
    while at < far and points[at] in (0x201D, 0x2019, 0x300D, 0x300F, 0xFF09):  # ”’」』）
        at += 1
    return at
