"""Masked titles: a sentence from inside an article, without the words of its title, and the article is to be found.

The pool is what a bank of the corpus holds: every chunk of an article with its title before it, as the bank's index embeds it, with
or without the sentences asked for. What keeps the task from being trivial is the query: it doesn't name the article, and it was not what
the article begins with. Words stay as they are written, so whoever compares words has an advantage that paraphrases would not give.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kmem.arguments import require_count, require_name
from kmem.bench.retrieval.mask import mask
from kmem.document import Document
from kmem.errors import ConfigError, SourceNotFoundError
from kmem.identity import content_id
from kmem.kbuild.chunker import Chunker
from kmem.kbuild.cuts import sentences
from kmem.kbuild.foldoc import FOLDOC, articles
from kmem.kbuild.sources import documents
from kmem.words import words

MIN_WORDS = 6
"""Different words of over three letters that a question must have left; a Chinese character counts half."""
_LONG = 4
AT = (1, 5, 20)


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """corpus: file, folder, glob or corpus:NAME, with titles. questions: at most so many. pool: rows that are searched, at most; of a
    larger corpus as many whole articles. seed: which articles and which sentences.
    words: of a question's beginning, between spaces, that are asked; None for all. sentence_in_index: False takes the sentences asked
    for out of what is searched, so that only the rest of an article can lead to it.
    """

    corpus: str = "corpus:foldoc"
    questions: int = 500
    pool: int = 15_000
    seed: int = 0
    words: int | None = None
    sentence_in_index: bool = True

    def __post_init__(self) -> None:
        require_name(self.corpus, "corpus")
        require_count(self.questions, "questions")
        require_count(self.pool, "pool")
        if self.words is not None:
            require_count(self.words, "words")


@dataclass(frozen=True, kw_only=True)
class Question:
    """`query` is `sentence`, of the article at place `article`, masked."""

    query: str
    sentence: str
    article: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What is searched and asked. Row i of the index is `rows[i]`, a chunk of the article at place `row_article[i]`.

    left_out: how many articles gave no question, by reason, of those that were looked at.
    """

    articles: tuple[Document, ...]
    rows: tuple[str, ...]
    row_article: tuple[int, ...]
    questions: tuple[Question, ...]
    left_out: dict[str, int]


def make_task(config: TaskConfig, chunker: Chunker) -> Task:
    """The rows and questions of a corpus; the same seed gives the same ones. Raises SourceNotFoundError where nothing can be asked."""
    known = _pool(tuple(load_articles(config.corpus)), config, chunker)
    left_out: Counter[str] = Counter()
    questions = ask(known, config, left_out)
    if not questions:
        raise SourceNotFoundError(
            f"No document of {config.corpus!r} gives a question ({dict(left_out)}): name a corpus with titles and sentences."
        )
    searched = list(known)
    if not config.sentence_in_index:
        for question in questions:
            article = known[question.article]
            searched[question.article] = replace(article, text=article.text.replace(question.sentence, "", 1))
    places = {content_id(article.source, article.text): place for place, article in enumerate(searched)}
    chunks = list(chunker.run(searched))
    return Task(
        articles=known,
        rows=tuple(chunk.reference for chunk in chunks),
        row_article=tuple(places[chunk.document_id] for chunk in chunks),
        questions=tuple(questions),
        left_out=dict(left_out),
    )


def _pool(known: Sequence[Document], config: TaskConfig, chunker: Chunker) -> tuple[Document, ...]:
    """As many articles as have `pool` chunks at most, the first ones of the seed's order, in the corpus's. Raises ConfigError for none."""
    kept: set[int] = set()
    left = config.pool
    for place in _shuffled(known, config.seed):
        left -= sum(1 for _ in chunker.run([known[place]]))
        if left < 0 and not kept:
            raise ConfigError(f"pool is {config.pool}, fewer chunks than {known[place].title!r:.60} has; give more.")
        if left < 0:
            break
        kept.add(place)
    return tuple(known[place] for place in sorted(kept))


def load_articles(corpus: str) -> Iterator[Document]:
    """Every document of the corpus that has a title; FOLDOC's, short ones included, without its markup."""
    if corpus == FOLDOC:
        for number, (title, body) in enumerate(articles(min_characters=0)):
            yield Document(source=f"{FOLDOC}#{number}", title=title, text=body)
    else:
        yield from (document for document in documents([corpus], Counter()) if document.title)


def ask(known: Sequence[Document], config: TaskConfig, left_out: Counter[str]) -> list[Question]:
    """Questions about articles in an order that the seed shuffles; `left_out` counts the articles looked at that gave none.

    A sentence that the corpus has more than once asks for no article in particular, so it is not asked.
    """
    times = Counter(sentence for article in known for sentence in set(_sentences(article)))
    found: list[Question] = []
    for place in _shuffled(known, config.seed):
        if len(found) == config.questions:
            break
        article = known[place]
        unique = [sentence for sentence in inside(article) if times[sentence] == 1]
        queries = [(query, sentence) for sentence in unique if remaining(query := mask(sentence, article.title)) >= MIN_WORDS]
        if not config.sentence_in_index and len(_sentences(article)) < 2:
            left_out["nothing beside the sentence"] += 1
        elif queries:
            query, sentence = queries[content_id(config.seed, article.text) % len(queries)]
            found.append(Question(query=" ".join(query.split()[: config.words]), sentence=sentence, article=place))
        else:
            left_out["too few words without the title's" if unique else "no sentence of its own"] += 1
    return found


def _shuffled(known: Sequence[Document], seed: int) -> list[int]:
    return sorted(range(len(known)), key=lambda place: content_id(seed, known[place].source, known[place].text))


def inside(article: Document) -> list[str]:
    """The sentences of an article but for the first, which tends to define the title; that one where it is all there is."""
    found = _sentences(article)
    return found[1:] or found


def remaining(query: str) -> float:
    """Different words that say something: of over three letters, a character of a script without spaces as half a word."""
    found = set(words(query))
    return sum(len(word) >= _LONG for word in found) + sum(len(word) == 1 and not word.isascii() for word in found) / 2


def _sentences(article: Document) -> list[str]:
    return [sentence for line in article.text.splitlines() for sentence in sentences(line)]


def places(task: Task, found: Sequence[Sequence[int]]) -> list[int | None]:
    """At which place, from 1, each question's article stands among the different ones that `found` leads to; None where it doesn't.

    found: for every question the rows of the index, nearest first; several chunks of an article count as one.
    """
    ranked = [list(dict.fromkeys(task.row_article[row] for row in rows)) for rows in found]
    return [
        order.index(question.article) + 1 if question.article in order else None
        for question, order in zip(task.questions, ranked, strict=True)
    ]


def recall(found_at: Sequence[int | None]) -> dict[str, float]:
    """Share of questions whose article is among the first 1, 5 and 20, by `recall@k`. found_at: as `places` gives it."""
    return {f"recall@{k}": sum(place is not None and place <= k for place in found_at) / len(found_at) for k in AT}
