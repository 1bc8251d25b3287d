"""A long text is judged by a few windows, so that a book costs no more than a page."""

from itertools import pairwise


def windows(text: str, *, characters: int, most: int) -> list[str]:
    """The text in equal parts of at most so many characters; where that gives more than `most`, that many windows evenly over the text.

    The same text always gives the same windows; an empty one gives one empty window.
    """
    parts = -(-len(text) // characters) or 1
    if parts <= most:
        bounds = [len(text) * part // parts for part in range(parts + 1)]
        return [text[start:end] for start, end in pairwise(bounds)]
    gap = (len(text) - characters) / max(1, most - 1)
    return [text[int(part * gap) :][:characters] for part in range(most)]
