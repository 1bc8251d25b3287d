"""A text's code points → its units, as machine code: the words of patterns.py's rules, and of runs of Chinese the parts (joints.py).

In all that follows: points [n] uint32, of which none is beyond `classes` [CODE_POINTS] uint8 (alphabet.py); `stop`, where the text ends;
`rule`, one of patterns.py.
"""

from kmem.jit import compiled
from kmem.kbuild.tokens.alphabet import APART, BEGINS, ENDS, LETTER, NUMBER, SPACE
from kmem.kbuild.tokens.patterns import BYTE_LEVEL, DIGITS_FIRST, ONE_DIGIT, THREE_DIGITS

_NEWLINE, _RETURN, _BLANK, _APOSTROPHE, _LONG_S = 10, 13, 32, 39, 0x17F
_D, _E, _L, _M, _R, _S, _T, _V = 100, 101, 108, 109, 114, 115, 116, 118
_SMALL = 32
"""The bit in which small ASCII letters differ from capitals."""


@compiled
def unit_end(points, at, stop, rule, classes):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    """Where the unit that begins at `at` ends."""
    end = _word_end(points, at, stop, rule, classes)
    for place in range(at + 1, end):
        left, right = classes[points[place - 1]], classes[points[place]]
        if left & right & APART and not (left & ENDS and right & BEGINS):
            return place
    return end


@compiled
def _word_end(points, at, stop, rule, classes):  # type: ignore[no-untyped-def]
    first = points[at]
    kind = classes[first]
    is_split = rule in (THREE_DIGITS, ONE_DIGIT)
    if kind & LETTER:
        return _run(points, at, stop, LETTER, classes)
    if first == _APOSTROPHE:
        length = _contraction(points, at, stop, is_split)
        if length:
            return at + length
    # What may stand before letters: a space, or where the pattern is a split one whatever is no number and ends no line.
    leads = first == _BLANK or (is_split and not kind & NUMBER and first not in (_NEWLINE, _RETURN))
    if leads and at + 1 < stop and classes[points[at + 1]] & LETTER:
        return _run(points, at + 1, stop, LETTER, classes)
    after = at + 1 if first == _BLANK else at
    if after == stop or classes[points[after]] & SPACE:
        return _whitespace(points, at, stop, rule, classes)
    if not classes[points[after]] & NUMBER:
        return _others(points, after, stop, is_split, classes)
    if rule == BYTE_LEVEL:
        return _run(points, after, stop, NUMBER, classes)
    if after > at:
        return _whitespace(points, at, stop, rule, classes)
    return min(_run(points, at, stop, NUMBER, classes), at + (3 if rule == THREE_DIGITS else 1))


@compiled
def _run(points, at, stop, kind, classes):  # type: ignore[no-untyped-def]
    while at < stop and classes[points[at]] & kind:
        at += 1
    return at


@compiled
def _others(points, at, stop, with_lines, classes):  # type: ignore[no-untyped-def]
    """Where characters of no class end, and then, where it is asked, ends of lines."""
    while at < stop and not classes[points[at]] & (LETTER | NUMBER | SPACE):
        at += 1
    while with_lines and at < stop and points[at] in (_NEWLINE, _RETURN):
        at += 1
    return at


@compiled
def _whitespace(points, at, stop, rule, classes):  # type: ignore[no-untyped-def]
    """Up to the last line's end where the pattern is a split one; else all of it at the end, and before a word all but one."""
    end = _run(points, at, stop, SPACE, classes)
    if rule in (THREE_DIGITS, ONE_DIGIT):
        for place in range(end - 1, at - 1, -1):
            if points[place] in (_NEWLINE, _RETURN):
                return place + 1
    if end == stop or end - at == 1 or (rule == DIGITS_FIRST and classes[points[end]] & NUMBER):
        return end
    return end - 1


@compiled
def _contraction(points, at, stop, any_case):  # type: ignore[no-untyped-def]
    """The length of an apostrophe and what it stands for: 's 't 'm 'd 're 've 'll; 0 for another apostrophe."""
    if at + 1 >= stop:
        return 0
    one = _small(points[at + 1], any_case)
    if one in (_S, _T, _M, _D) or (any_case and one == _LONG_S):
        return 2
    if at + 2 >= stop:
        return 0
    two = _small(points[at + 2], any_case)
    return 3 if (one in (_R, _V) and two == _E) or (one == _L and two == _L) else 0


@compiled
def _small(point, any_case):  # type: ignore[no-untyped-def]
    return point + _SMALL if any_case and 65 <= point <= 90 else point
