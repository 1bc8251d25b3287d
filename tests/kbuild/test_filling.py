"""The chunker in machine code gives the naive one's units, cuts, tokens and spans, and learns what it needs on the way."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from kmem.document import Document
from kmem.encoder.load import load_tokenizer
from kmem.kbuild.chunker import Chunker, ChunkerConfig
from kmem.kbuild.cuts import cut
from kmem.kbuild.ending import ending
from kmem.kbuild.filling import WordFiller
from kmem.kbuild.tokens import NaiveMeter, filler_for, meter_for
from kmem.kbuild.tokens.patterns import BYTE_LEVEL, ONE_DIGIT, Classes, word_pattern
from kmem.kbuild.tokens.scan import unit_end
from kmem.kbuild.tokens.units import LONGEST, Units
from kmem.kbuild.tokens.words import WordMeter
from tests.kbuild.conftest import SENTENCES, fast

LAW = "重点排污单位应当如实公开其主要污染物的名称；防治污染设施的建设和运行情况，接受社会监督。国务院有关部门按照职责分工负责。"
CHINESE = st.text(alphabet=sorted(set(LAW + "，ab 龘ー１２한é")), max_size=120)
CUTS = st.text(alphabet=" \n\t\x1c\u3000a.Bs1_é哈。！？；，：、”’\"')]」）!?…", max_size=120)
WORDS = st.text(alphabet=" \n\t\r\u3000\u00a0a.'sSſrReELl12é哈法律。<½", max_size=120)


def trained(ignore_merges: bool = False, texts: tuple[str, ...] = (LAW, LAW[3:], LAW[::2]), every_byte: bool = True) -> WordMeter:
    """Byte-level BPE whose tokens hold several Chinese characters, and ends and beginnings of them."""
    backend = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet() if every_byte else []
    backend.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    meter = meter_for(fast(backend))
    assert isinstance(meter, WordMeter)
    return meter


METERS = {
    "many merges": trained(),
    "parts of characters": trained(texts=("".join(chr(0x4E00 + 7 * i) for i in range(400)),)),
    "lookups": trained(ignore_merges=True),
    "few bytes": trained(every_byte=False),
}


def units(meter: WordMeter, text: str) -> list[str]:
    points = points_of(text)
    at, found = 1, []
    while at < len(points):
        end = unit_end(points, at, len(points), meter.rule, meter.characters.table, meter.crossing)
        found.append(text[at - 1 : end - 1])
        at = end
    return found


def points_of(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(bytearray(f" {text}".encode("utf-32-le")), np.uint32)


@pytest.mark.parametrize("name", METERS)
@settings(max_examples=150, deadline=None)
@given(text=CHINESE)
@example(text=LAW)
def test_units_have_the_tokens_of_the_text(name: str, text: str) -> None:
    meter = METERS[name]
    assert meter.characters.sure(points_of(text), f" {text}")
    found = units(meter, text)
    assert "".join(found) == text
    assert sum(map(meter.counts.ask, found)) == sum(map(meter.counts.ask, meter.pattern.findall(text)))


@pytest.mark.real
def test_units_have_the_tokens_of_the_text_for_smollm2() -> None:
    meter = meter_for(load_tokenizer("smollm2"))
    assert isinstance(meter, WordMeter)

    @settings(max_examples=300, deadline=None)
    @given(text=st.one_of(CHINESE, st.text(alphabet="一个数据文件国人的 ", max_size=60)))
    def check(text: str) -> None:
        assert meter.characters.sure(points_of(text), f" {text}")
        assert sum(map(meter.counts.ask, units(meter, text))) == meter.count(text)

    check()
    assert max(map(len, units(meter, LAW))) <= 3


def test_chinese_is_cut_where_no_token_can_lie() -> None:
    assert max(map(len, units(METERS["parts of characters"], "重点排污单位应当如实公开"))) < 12
    assert units(METERS["lookups"], "重点排污单位") == ["重点排污单位"]
    assert units(METERS["many merges"], "龘污染龘") == ["龘", "污染", "龘"]
    assert units(METERS["few bytes"], "ꀀꀀ") == ["ꀀꀀ"]


@pytest.mark.parametrize("rule", range(BYTE_LEVEL, ONE_DIGIT + 1))
@settings(max_examples=300, deadline=None)
@given(text=WORDS)
@example(text="'s'S'ſ'll'LL've a'b  'd \r\n\n  12345 ½½  ")
def test_units_are_the_words_of_the_pattern(rule: int, text: str) -> None:
    meter = METERS["lookups"]  # nothing is cut
    points = points_of(text)
    assert Classes().agree(text)
    at, found = 1, []
    while at < len(points):
        end = unit_end(points, at, len(points), rule, meter.characters.table, meter.crossing)
        found.append(text[at - 1 : end - 1])
        at = end
    assert found == word_pattern(rule).findall(text)


@settings(max_examples=600, deadline=None)
@given(text=CUTS, data=st.data())
def test_a_chunk_ends_where_the_naive_cut_is(text: str, data: st.DataObject) -> None:
    text = f"a{text}b"
    start = data.draw(st.integers(0, len(text) - 2))
    end = data.draw(st.integers(start + 1, len(text) - 1))
    found = ending(points_of(text), start + 1, end + 1, start + 1, len(text) + 1, METERS["lookups"].characters.table)
    assert found - 1 == cut(text, start, end, start)


def test_every_place_of_a_text_is_cut_alike() -> None:
    text = " ".join(SENTENCES) + "\n \nJ. Smith said e.g. “yes.” (No!)\n\nNext；一、二，三：” "
    table, points = METERS["lookups"].characters.table, points_of(text)
    for start, end in pairwise(sorted({*range(0, len(text), 7), *range(0, len(text), 11)})):
        for window in (end, min(start + 60, len(text) - 1)):
            if start < window < len(text):
                assert ending(points, start + 1, window + 1, start + 1, len(points), table) - 1 == cut(text, start, window, start)


def test_a_text_it_can_not_be_sure_of_is_left_to_the_chunker() -> None:
    filler = filler_for(METERS["many merges"], 64)
    assert isinstance(filler, WordFiller)
    for text in ("𠀀", "x" * (LONGEST + 1)):
        assert filler.spans(text, "") is None
    assert filler.spans(LAW, "𠀀: ") is None
    assert filler.spans(LAW, "Law: ")
    assert filler_for(NaiveMeter(fast(Tokenizer(models.BPE()))), 64) is None


def test_units_that_have_no_room_are_learned_again() -> None:
    tokenizer = small()
    meter = meter_for(tokenizer)
    assert isinstance(meter, WordMeter)
    meter.units = Units(meter.counts.ask, meter.ends, kept=240)
    document = Document(source="s", text=" ".join(SENTENCES) + " ".join(f"w{i}x" for i in range(400)) + LAW, title="T")
    config = ChunkerConfig(max_tokens=48)
    found = list(Chunker(tokenizer, config, meter=meter).run([document]))
    assert found == list(Chunker(tokenizer, config, meter=NaiveMeter(tokenizer)).run([document])) != []
    assert 0 < meter.units.table.used[0] <= 240


def small() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    backend.train_from_iterator([*SENTENCES, LAW], trainer)
    return fast(backend)
