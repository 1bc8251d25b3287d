"""What a step does that drops documents by a verdict on their texts."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from kmem.document import Document


def kept(documents: Iterable[Document], verdict: Callable[[str], str | None], counts: Counter[str] | None) -> Iterator[Document]:
    """The documents on which there is none, in order; `counts` receives `dropped: <verdict>` of the others."""
    counts = Counter() if counts is None else counts
    for document in documents:
        reason = verdict(document.text)
        if reason is None:
            yield document
        else:
            counts[f"dropped: {reason}"] += 1
