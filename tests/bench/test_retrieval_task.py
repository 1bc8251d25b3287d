"""Sentences that don't name their article, and what finding it counts for."""

import json
from collections import Counter
from pathlib import Path

import pytest

from kmem.bench.retrieval.mask import mask
from kmem.bench.retrieval.task import Task, TaskConfig, ask, inside, load_articles, make_task, places, recall, remaining
from kmem.document import Document
from kmem.errors import ConfigError, SourceNotFoundError
from kmem.kbuild.chunker import Chunker
from tests.tiny import byte_tokenizer

HASH = Document(
    source="s#1",
    title="Hash table",
    text="A hash table gives rapid access to data items which are distinguished by some key. "
    "Hashing functions choose the bucket where every colliding element is stored afterwards. See also: tables.",
)
HERON = Document(source="s#2", title="Heron", text="Herons wait in shallow rivers until small fishes swim nearby.\nThe end.")
STUB = Document(source="s#3", title="Egret", text="See heron.")
BOILERPLATE = "The committee publishes further regulations about applying these provisions everywhere."
ONE = Document(source="s#4", title="Statute one", text=BOILERPLATE)
TWO = Document(
    source="s#5", title="Statute two", text=f"Nobody may enter gardens after nightfall without written permission. {BOILERPLATE}"
)
LAW = Document(
    source="s#6",
    title="中华人民共和国劳动法 第五十条",
    text="工资应当以货币形式按月支付给劳动者本人。\n用人单位不得克扣或者无故拖欠劳动者的工资；人民政府应当监督。",
)
ALL = [HASH, HERON, STUB, ONE, TWO, LAW]


@pytest.mark.parametrize(
    ("sentence", "title", "left"),
    [
        ("Hash tables and hashing; the HASHED key.", "Hash table", "and ; the key."),
        ("The filesystem keeps its files.", "file", "The keeps its ."),
        ("Memories of one memory.", "Memory", "of one ."),
        ("Programmers program programs.", "programming", "."),
        ("Its café's CAFE", "Café", "Its"),
        ("An artist makes art in Arthur's house.", "art", "An artist makes in Arthur's house."),
        ("C is used; C++ too, since C's old.", "C", "is used; ++ too, since old."),
        ("WLL includes cordless systems", "Wireless Local Loop", "includes cordless systems"),
        ("BOCS and BOACS", "Berard Object and Class Specifier", ""),
        ("It is what IT is.", "Information Technology", "It is what IT is."),
        ("The crypt of it", "Cryptography", "The of it"),
        ("The theory of it", "Theory of sets", "The it"),
        ("国家对劳动者实行保护。", "中华人民共和国劳动法", "国家对 者实行保护。"),
        ("人民法院依照第五十条处理", "中华人民共和国劳动法 第五十条", "法院依照 处理"),
        ("用Python写哈希表", "Python 哈希", "用 写 表"),
        ("水是透明的。", "水", "是透明的。"),
    ],
)
def test_mask(sentence: str, title: str, left: str) -> None:
    assert mask(sentence, title) == left


def test_what_says_something() -> None:
    assert remaining("It is in the data, data of every BUCKET.") == 3
    assert remaining("工资应当支付") == 3
    assert remaining("See $5.") == 0


def test_questions() -> None:
    left_out: Counter[str] = Counter()
    asked = {question.article: question.query for question in ask(ALL, TaskConfig(), left_out)}
    assert asked == {
        0: "functions choose the bucket where every colliding element is stored afterwards.",
        5: "用人单位不得克扣或者无故拖欠 者的工资； 政府应当监督。",
    }
    assert left_out == {"too few words without the title's": 2, "no sentence of its own": 2}


@pytest.mark.parametrize(("count", "asked"), [(5, 0), (6, 1)])
def test_a_question_has_six_words_left(count: int, asked: int) -> None:
    words = ["Rivers", "carry", "large", "stones", "down", "valley"][:count]
    article = Document(source="s#9", title="Heron", text=f"Herons wait.\n{' '.join(words)} and the herons.")
    assert len(ask([article], TaskConfig(), Counter())) == asked


def test_questions_can_be_short() -> None:
    whole, short = ({question.article: question for question in ask(ALL, TaskConfig(words=words), Counter())} for words in (None, 3))
    assert short[0].query == "functions choose the"
    assert whole[0].query.startswith(short[0].query)
    assert short[0].sentence == whole[0].sentence
    with pytest.raises(ConfigError, match="words"):
        TaskConfig(words=0)


def test_not_the_first_sentence_unless_it_is_all() -> None:
    assert inside(HERON) == ["The end."]
    assert inside(ONE) == [BOILERPLATE]


def test_the_seed_decides() -> None:
    many = [
        Document(
            source=f"s#{number}",
            title="T",
            text=" ".join(f"Sentence{number}x{k} comes with several different longer words." for k in range(9)),
        )
        for number in range(20)
    ]
    first, again, other = (ask(many, TaskConfig(questions=5, seed=seed), Counter()) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == len({question.article for question in first}) == 5


def test_the_pool_is_every_chunk_with_its_title(tmp_path: Path) -> None:
    lines = [{"id": article.source[2:], "title": article.title, "text": article.text} for article in ALL]
    path = tmp_path / "articles.jsonl"
    path.write_text("\n".join(map(json.dumps, [*lines, {"text": "This one has no title."}])))
    task = make_task(TaskConfig(corpus=str(path)), Chunker(byte_tokenizer()))
    assert [article.title for article in task.articles] == [article.title for article in ALL]
    assert set(task.row_article) == set(range(6))
    assert len(task.rows) == len(task.row_article) > 6
    assert all(row.startswith(task.articles[place].title[:5]) for row, place in zip(task.rows, task.row_article, strict=True))
    assert {question.article for question in task.questions} == {0, 5}
    assert sum(task.left_out.values()) == 4


def test_the_sentences_can_be_taken_out_of_the_pool(tmp_path: Path) -> None:
    lines = [{"id": article.source[2:], "title": article.title, "text": article.text} for article in ALL]
    path = tmp_path / "articles.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    task = make_task(TaskConfig(corpus=str(path), sentence_in_index=False), Chunker(byte_tokenizer()))
    whole = make_task(TaskConfig(corpus=str(path)), Chunker(byte_tokenizer()))
    assert task.questions == whole.questions
    assert any("Hashing functions choose" in row for row in whole.rows)
    assert not any("Hashing functions choose" in row for row in task.rows)
    assert set(task.row_article) == set(range(6))
    assert task.left_out["nothing beside the sentence"] == 2


def test_recall_counts_articles_not_chunks() -> None:
    questions = ask(ALL, TaskConfig(), Counter())
    asked = [question.article for question in questions]
    task = Task(articles=tuple(ALL), rows=("",) * 9, row_article=(0, 0, 1, 2, 3, 4, 4, 4, 5), questions=tuple(questions), left_out={})
    found = {0: [1, 0, 2], 5: [5, 6, 7, 2, 3, 4, 8]}
    assert places(task, [found[article] for article in asked]) == [{0: 1, 5: 5}[article] for article in asked]
    found[5] = [0, 2, 3, 4, 5]
    assert places(task, [found[article] for article in asked]) == [{0: 1, 5: None}[article] for article in asked]
    assert recall([1, 5, 6, None]) == {"recall@1": 0.25, "recall@5": 0.5, "recall@20": 0.75}


def test_the_pool_holds_whole_articles_and_the_same_questions_first(tmp_path: Path) -> None:
    lines = [
        {
            "id": number,
            "title": f"T{number}",
            "text": f"{BOILERPLATE} It{number} brings several different longer words, none of them borrowed. " * 3,
        }
        for number in range(20)
    ]
    path = tmp_path / "articles.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    whole = make_task(TaskConfig(corpus=str(path)), Chunker(byte_tokenizer()))
    part = make_task(TaskConfig(corpus=str(path), pool=len(whole.rows) // 2), Chunker(byte_tokenizer()))
    assert 1 < len(part.articles) < 20
    assert len(whole.rows) // 3 < len(part.rows) <= len(whole.rows) // 2
    assert set(part.rows) < set(whole.rows)
    assert set(part.row_article) == set(range(len(part.articles)))
    with pytest.raises(ConfigError, match=r"pool is 1, fewer chunks than 'T\d+' has"):
        make_task(TaskConfig(corpus=str(path), pool=1), Chunker(byte_tokenizer()))


def test_a_corpus_that_gives_no_question(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"title": "Egret", "text": "See heron."}))
    with pytest.raises(SourceNotFoundError, match=r"gives a question \(.*too few words.*name a corpus"):
        make_task(TaskConfig(corpus=str(tmp_path)), Chunker(byte_tokenizer()))
    with pytest.raises(ConfigError, match="questions"):
        TaskConfig(questions=0)


def test_documents_without_titles_are_not_searched(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A text.")
    assert list(load_articles(str(tmp_path))) == []
