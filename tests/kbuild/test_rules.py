"""Every rule has a text that it drops and one, as near as texts come to its limit, that it keeps; and counts add up."""

import math
from collections import Counter
from itertools import islice, product
from string import ascii_lowercase

import pytest
from distributed.protocol import deserialize, serialize
from hypothesis import given
from hypothesis import strategies as st

from kmem.document import Document
from kmem.errors import ConfigError, UnknownNameError, UnknownRuleError, WrongTypeError
from kmem.kbuild.rules import RULES
from kmem.kbuild.rules.config import PRESETS, RulesConfig
from kmem.kbuild.rules.naive import naive_lines, naive_phrases, naive_units
from kmem.kbuild.rules.places import LINES, PARAGRAPHS, SHORT, TWICE_LINE_CHARACTERS, TWICE_LINES, TWICE_PARAGRAPHS
from kmem.kbuild.rules.run import Rules, figures
from kmem.kbuild.rules.view import View

PAIRS = ["".join(pair) for pair in product(ascii_lowercase, repeat=2)]
HAN = [chr(point) for point in range(0x5000, 0x5400)]


def words(count: int, skip: int = 0) -> str:
    """Different words of two letters."""
    return " ".join(islice(PAIRS, skip, skip + count))


def han(count: int, skip: int = 0) -> str:
    """Different Chinese characters."""
    return "".join(HAN[skip : skip + count])


def lines(different: int, again: int, between: str = "\n") -> str:
    return between.join([f"line {pair}" for pair in PAIRS[:different]] + [f"line {PAIRS[0]}"] * again)


def twice(phrase: int, others: int) -> str:
    """A phrase of so many words at the start and near the end, with other words between."""
    return f"{words(phrase)} {words(others - 1, 100)} {words(phrase)} zz"


def twice_han(phrase: int, others: int) -> str:
    return han(phrase) + han(others - 1, 100) + han(phrase) + "字"


ROWS = [  # rule, dropped, kept
    ("empty", " \n\t\u3000", "x"),
    ("wordless", "— … 。 !?", "7"),
    ("control-characters", "\0" + "a" * 8, "\0" + "a" * 9),
    ("control-characters", bytes(range(256)).decode("latin-1"), "N\bNA\bAM\bME\bE \x1b[1mbold\x1b[0m"),
    ("replacement-characters", "\ufffd" + "字" * 8, "\ufffd" + "字" * 9),
    ("non-alphabetic", "aaa" + "1" * 8, "aaa  \n" + "1" * 7),
    ("non-alphabetic", "法律条" + "1" * 8, "法律条" + "1" * 7),
    ("alphabetic-words", "a b c 1", "a b c d 1"),
    ("alphabetic-words", "第一条 1", "第一条 第二条 第三条 第四条 1"),
    ("min-words", words(49), words(50)),
    ("min-words", han(99), han(100)),
    ("min-words", words(20) + han(59), words(20) + han(60)),
    ("max-words", "a " * 100_001, "a " * 100_000),
    ("min-word-length", "abc ab", "abc abcdef 1.23"),
    ("max-word-length", "a" * 11, "a" * 10),
    ("max-word-length", "llanfairpwllgwyngyll", "劳动法llanfairpwllgwyngyll"),
    ("hashes", "#" + words(9), "#" + words(10)),
    ("hashes", "#" + han(18), "#" + han(20)),
    ("ellipses", words(9) + "...", words(10) + "...."),
    ("ellipses", han(38) + "……", han(40) + "……"),
    ("curly-brackets", "{ }" + words(19), "{ }" + words(20)),
    ("newlines", "a\n\nb\nc d e f g h i", "a\n\nb\nc d e f g h i j"),
    ("stop-words", "the thermal vision, the", "the thermal vision of"),
    ("stop-words", "劳动法的效力", "劳动法的效力是"),
    ("min-unique-words", words(29) + " aa" * 71, words(30) + " aa" * 70),
    ("min-unique-words", han(28) + "的" * 72, han(29) + "的" * 71),
    ("max-unique-words", words(96) + " aa" * 4, words(95) + " aa" * 5),
    ("max-unique-words", han(95) + "的" * 5, han(94) + "的" * 6),
    ("min-entropy", f"{words(20)} " * 3, f"{words(21)} " * 3),
    ("min-entropy", han(20) * 3, han(21) * 3),
    ("bullet-lines", "• a\n" * 5 + "- b\n" * 5, "• a\n" * 5 + "- b\n" * 4 + "-c"),
    ("ellipsis-lines", "a\nb\nc...", "\n".join(["a..."] * 2 + ["b…"] + ["c.."] * 7)),
    ("short-lines", f"{'x' * 30}\n" * 3 + "x" * 31, f"{'x' * 30}\n" * 2 + "x" * 31),
    ("short-lines", f"{han(15)}\n" * 3 + han(16), f"{han(15)}\n" * 2 + han(16)),
    ("ended-lines", "end.\n" * 2 + "menu\n" * 23, "end.\n" * 2 + "He said “no!”\n" + "menu\n" * 22),
    ("ended-lines", "完。\n" * 2 + "目录\n" * 23, "完。\n" * 2 + "完；\n" + "目录\n" * 22),
    ("duplicate-lines", lines(6, 3), lines(7, 3)),
    ("duplicate-line-characters", lines(8, 1), lines(9, 1)),
    ("duplicate-paragraphs", lines(6, 3, "\n\n"), lines(7, 3, "\n \n")),
    ("duplicate-paragraph-characters", lines(3, 1, "\n\n"), lines(4, 1, "\n\n")),
    ("top-2-gram", twice(2, 15), twice(2, 16)),
    ("top-2-gram", twice_han(4, 31), twice_han(4, 32)),
    ("top-3-gram", twice(3, 27), twice(3, 28)),
    ("top-4-gram", twice(4, 41), twice(4, 42)),
    ("duplicate-5-grams", twice(5, 23), twice(5, 24)),
    ("duplicate-5-grams", twice_han(10, 46), twice_han(10, 47)),
    ("duplicate-6-grams", twice(6, 30), twice(6, 31)),
    ("duplicate-7-grams", twice(7, 39), twice(7, 40)),
    ("duplicate-8-grams", twice(8, 50), twice(8, 51)),
    ("duplicate-9-grams", twice(9, 63), twice(9, 64)),
    ("duplicate-10-grams", twice(10, 79), twice(10, 80)),
    ("lorem-ipsum", "Lorem ipsum dolor sit amet", "Lorem, ipsum: two words of Latin"),
    ("javascript", "Please enable JavaScript to see this." + "\ntext" * 8, "Please enable JavaScript to see this." + "\ntext" * 9),
    ("javascript", "请启用JavaScript后继续访问。", "JavaScript是一种程序设计语言。"),
    ("policies", "Home\nPrivacy Policy\nAbout", "The policy of privacy is older than cookies."),
    ("policies", "首页\n版权所有", "著作权法的条款"),
]


@pytest.mark.parametrize(("name", "dropped", "kept"), ROWS, ids=[f"{row[0]}-{number}" for number, row in enumerate(ROWS)])
def test_rule(name: str, dropped: str, kept: str) -> None:
    rules = Rules(RulesConfig(preset="none", changes={name: True}))
    assert rules.verdict(dropped) == name
    assert rules.verdict(kept) is None


def test_every_rule_has_a_row() -> None:
    assert {name for name, _, _ in ROWS} == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_document_at_the_limit_is_kept(name: str) -> None:
    rule = RULES[name]
    for _, text, _ in ROWS:
        view = View(text)
        figure = rule.figure(view)
        if math.isnan(figure):
            assert not rule.drops(view, 0)
            assert not rule.drops(view, 1e9)
            continue
        assert not rule.drops(view, figure)
        assert rule.drops(view, math.nextafter(figure, -1 if rule.most is not None else 1e9))


NOTES = [
    "42",
    "Milk, eggs, bread",
    "0171 555 1234",
    "TODO: call back!!!",
    "哈希表",
    "见第三条。",
    "x",
    "ls -la | grep '^d' && echo {}",
    "   <jargon> See {foo}.\n\n   [{Jargon File}]\n",
    "第三条 本法自公布之日起施行。",
    "สวัสดี",
    "مرحبا",
    "def f(x):\n    return {k: v for k, v in x.items()}\n",
    "N\bNA\bAM\bME\bE\n       ls - list directory contents\n",
]


@pytest.mark.parametrize("note", NOTES)
def test_light_keeps_what_someone_wrote(note: str) -> None:
    assert Rules().verdict(note) is None


PROSE = (
    "Steel is an alloy of iron and carbon with improved strength and fracture resistance compared to other forms of iron. "
    "Because of its high tensile strength and low cost, it is one of the most commonly manufactured materials in the world. "
    "It is used in buildings, as concrete reinforcing rods, in bridges, tools, ships, trains, cars, machines and weapons."
)
LAW = (
    "为了保护劳动者的合法权益，调整劳动关系，建立和维护适应社会主义市场经济的劳动制度，促进经济发展和社会进步，根据宪法，制定本法。"
    "在中华人民共和国境内的企业、个体经济组织和与之形成劳动关系的劳动者，适用本法。国家机关、事业组织、社会团体依照本法执行。"
)


def test_web_keeps_prose_and_drops_menus() -> None:
    rules = Rules(RulesConfig(preset="web"))
    assert [rules.verdict(text) for text in (PROSE, LAW)] == [None, None]
    assert rules.verdict("Home\nAbout\nContact\nLog in\n" * 20) is not None
    assert rules.verdict("首页\n关于\n联系我们\n登录\n" * 20) is not None


ODD = st.text(st.sampled_from("ab {}#.…•-\n\n 法。\0\u0301\ufffd\ud800\U0001f600"), max_size=60)


@given(st.one_of(st.text(max_size=200), ODD))
def test_any_text_has_a_verdict(text: str) -> None:
    for preset in PRESETS:
        assert Rules(RulesConfig(preset=preset)).verdict(text) in (None, *RULES)
    assert list(figures(text)) == list(RULES)


@given(st.lists(st.one_of(st.text(max_size=20), st.just(PROSE), st.just(LAW)), max_size=8))
def test_in_is_kept_and_dropped(texts: list[str]) -> None:
    documents = [Document(source=str(number), text=text) for number, text in enumerate(texts)]
    counts: Counter[str] = Counter()
    kept = list(Rules(RulesConfig(preset="web")).run(documents, counts))
    assert len(kept) + counts.total() == len(documents)
    assert [document for document in documents if document in kept] == kept
    assert all(reason.removeprefix("dropped: ") in RULES for reason in counts)


FEW = st.text(st.sampled_from("abAB1法律的 \n\n.。-_é"), max_size=80)


@given(FEW)
def test_the_passes_count_as_the_naive_ones(text: str) -> None:
    view, units, expected = View(text), naive_units(text), naive_lines(text)
    assert view.units[1].tolist() == [len(unit) for unit in units]
    assert len(set(view.units[0].tolist())) == len(set(units))
    step = 1 if view.is_spaced else 2
    assert view.phrases == naive_phrases(units, step)
    places = (LINES, SHORT, TWICE_LINES, TWICE_LINE_CHARACTERS, PARAGRAPHS, TWICE_PARAGRAPHS)
    assert [view.figures[place] for place in places] == list(expected)


def test_config_from_the_command_line_and_from_yaml_is_one() -> None:
    parsed = RulesConfig.parse("web", ["min-words=20", "no-lorem-ipsum", "max-words", "stop-words=1", "no-stop-words"])
    written = RulesConfig.from_dict({"preset": "web", "min-words": 20, "lorem-ipsum": False, "max-words": True, "stop-words": False})
    assert parsed == written == RulesConfig.from_dict(parsed.to_dict())
    assert deserialize(*serialize(parsed)) == parsed  # as it travels to a worker
    assert parsed.limits["min-words"] == 20
    assert parsed.limits["max-words"] == 100_000
    assert {"lorem-ipsum", "stop-words"}.isdisjoint(parsed.limits)
    assert RulesConfig.from_dict("light") == RulesConfig.from_dict({}) == RulesConfig()


def test_presets_grow() -> None:
    none, light, web = (set(RulesConfig(preset=preset).limits) for preset in PRESETS)
    assert none == set()
    assert none < light < web < set(RULES)


def test_a_wrong_option_is_told() -> None:
    with pytest.raises(UnknownRuleError, match=r"Unknown rule 'min-word'; the nearest are min-words"):
        RulesConfig.parse("web", ["min-word=20"])
    with pytest.raises(UnknownRuleError, match="'lorem'; the nearest are lorem-ipsum"):
        RulesConfig.parse("web", ["no-lorem"])
    with pytest.raises(UnknownRuleError, match=r"'xyzzy'; there are alphabetic-words, "):
        RulesConfig.from_dict({"xyzzy": 1})
    with pytest.raises(ConfigError, match=r"The limit of rule min-words is 'few', no number: write min-words=50, or no-min-words\."):
        RulesConfig.parse("web", ["min-words=few"])
    with pytest.raises(ConfigError, match=r"is nan: give a number of at least 0, as its default 50\."):
        RulesConfig.parse("web", ["min-words=nan"])
    with pytest.raises(WrongTypeError, match="must be a number, true or false, not 'twenty'"):
        RulesConfig.from_dict({"min-words": "twenty"})
    with pytest.raises(WrongTypeError, match="rules must be a preset or a mapping"):
        RulesConfig.from_dict(["web"])  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="Unknown preset of rules 'strict'; there are light, none, web"):
        RulesConfig.parse("strict")
