"""Scorers of texts: what they count, learn, keep on disk and drop."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmem.document import Document
from kmem.errors import ConfigError, IdentityMismatchError, ScorerError, SourceError, UnknownNameError
from kmem.kbuild.quality.features import EMBEDDED, FORM, Features, FeaturesConfig
from kmem.kbuild.quality.fit import calibrate, fit, sigmoid
from kmem.kbuild.quality.labelled import Labelled, read_labelled
from kmem.kbuild.quality.load import load_scorer, shipped_scorers
from kmem.kbuild.quality.measure import agreement, auc
from kmem.kbuild.quality.naive import buckets
from kmem.kbuild.quality.scorer import DESCRIPTION, WEIGHTS, Scorer, open_scorer
from kmem.kbuild.quality.step import DROPPED, Quality
from kmem.kbuild.quality.train import TrainConfig, train
from kmem.kbuild.quality.windows import windows
from tests.tiny import HashEmbedder

SMALL = FeaturesConfig(bits=12)
LETTERS = "aBz é中文日，。.\n\t-_9٣😀𠀀İßあ"


def sentence(random: Random) -> str:
    words = [random.choice(("the", "iron", "rusts", "in", "wet", "air", "because", "water", "reacts", "slowly")) for _ in range(12)]
    return " ".join(words).capitalize() + "."


def menu(random: Random) -> str:
    return "\n".join(random.choice(("Home", "Next", "Up", "Index", "Contents", "Page 3", "Search")) for _ in range(9))


def labelled(count: int = 160, *, sources: bool = False) -> Labelled:
    """Half prose, half menus; four sources, each with both."""
    random = Random(0)
    texts = [(menu if row % 2 else sentence)(random) + f" {row}" for row in range(count)]
    return Labelled(
        texts=texts,
        targets=np.array([1.0 - row % 2 for row in range(count)]),
        sources=["s" + "abcd"[row // 2 % 4] if sources else "" for row in range(count)],
        highest=1.0,
    )


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return train(labelled(), TrainConfig(features=SMALL, folds=3), name="tiny")[0]


@given(st.text(alphabet=LETTERS, max_size=60))
@settings(max_examples=60)
def test_the_fast_count_is_the_naive_one(text: str) -> None:
    matrix = Features(FeaturesConfig(bits=16)).matrix([text])
    row = matrix[:, : 1 << 16]
    naive = buckets(text, 1 << 16)
    wanted = {bucket: np.sqrt(hits / naive.total()) for bucket, hits in naive.items()}
    assert dict(zip(row.indices.tolist(), row.data.tolist(), strict=True)) == pytest.approx(wanted)


def test_form_is_between_0_and_1_and_says_what_it_counts() -> None:
    texts = ["Iron rusts.", "A1 B2\nC3\n", "水很重要。", "", "\n", "😀" * 9, "a" * 5000]
    form = Features(SMALL).matrix(texts).toarray()[:, -len(FORM) :]
    assert ((form >= 0) & (form <= 1)).all()
    first = dict(zip(FORM, form[0].tolist(), strict=True))
    assert first["letters"] == pytest.approx(9 / 11)
    assert first["ended lines"] == first["short lines"] == 1
    assert dict(zip(FORM, form[2].tolist(), strict=True))["chinese"] == pytest.approx(4 / 5)


@given(st.text(alphabet="ab", max_size=200), st.integers(1, 30), st.integers(1, 5))
def test_windows_are_bounded_and_cover_what_they_can(text: str, characters: int, most: int) -> None:
    parts = windows(text, characters=characters, most=most)
    assert 1 <= len(parts) <= most
    assert all(len(part) <= characters for part in parts)
    if len(text) <= characters * most:
        assert "".join(parts) == text
    else:
        assert text.startswith(parts[0])
        assert sum(map(len, parts)) == characters * most


def test_a_text_scores_alone_as_among_others_however_long(scorer: Scorer) -> None:
    texts = [sentence(Random(1)), "", menu(Random(2)) * 5000, sentence(Random(3)) * 5000]
    together = scorer.score(texts * 100)
    assert together.dtype == np.float32
    assert together[:4].tolist() == [scorer.score([text])[0] for text in texts]
    assert together[2] < 0.5 < together[3]
    assert len(scorer.score([])) == 0


def test_training_is_deterministic_and_measures_rows_it_never_saw() -> None:
    rows = labelled(sources=True)
    config = TrainConfig(features=SMALL, folds=4)
    first, figures = train(rows, config, name="tiny")
    again, _ = train(rows, config, name="tiny")
    assert first.digest == again.digest
    assert figures["held_out"]["auc"] == 1
    assert figures["held_out"]["rows"] + figures["folds"]["rows"] == figures["rows"] == 160
    assert set(figures["by_source"]) == {"sa", "sb", "sc", "sd"}


def test_grades_are_shares_of_the_highest() -> None:
    rows = labelled()
    graded = replace(rows, targets=np.where(rows.targets > 0.5, 0.8, 0.2))
    found, figures = train(graded, TrainConfig(features=SMALL, folds=3), name="tiny")
    assert found.score([sentence(Random(9))])[0] == pytest.approx(0.8, abs=0.1)
    assert figures["held_out"]["correlation"] > 0.95


def test_a_word_of_one_source_weighs_nothing() -> None:
    """Each source's prose has a word of its own: where whole sources are held out, such words are no evidence."""
    rows = labelled(sources=True)
    marked = [
        f"{text} only{source}" if target else text for text, source, target in zip(rows.texts, rows.sources, rows.targets, strict=True)
    ]
    word = set(buckets("onlysa", 1 << 12)) - {bucket for text in rows.texts for bucket in buckets(text, 1 << 12)}
    found, _ = train(replace(rows, texts=marked), TrainConfig(features=SMALL, folds=4), name="tiny")
    assert word
    assert not found.weights[sorted(word)].any()


def test_saved_and_opened_it_is_the_same(scorer: Scorer, tmp_path: Path) -> None:
    scorer.save(tmp_path)
    opened = open_scorer(tmp_path)
    texts = [sentence(Random(4)), menu(Random(4)), "水很重要。"]
    assert opened.identity() == scorer.identity()
    assert opened.score(texts).tolist() == scorer.score(texts).tolist()
    assert {path.name for path in tmp_path.iterdir()} == {DESCRIPTION, WEIGHTS}


def test_damaged_files_are_refused(scorer: Scorer, tmp_path: Path) -> None:
    scorer.save(tmp_path)
    record = json.loads((tmp_path / DESCRIPTION).read_text())
    data = bytearray((tmp_path / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (tmp_path / WEIGHTS).write_bytes(data)
    with pytest.raises(ScorerError, match="digest"):
        open_scorer(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(data[:40])
    with pytest.raises(ScorerError, match="can be read"):
        open_scorer(tmp_path)
    changes: tuple[dict[str, object], ...] = ({"format": 2}, {"features": {}})
    for changed in changes:
        (tmp_path / DESCRIPTION).write_text(json.dumps(record | changed))
        with pytest.raises(ScorerError):
            open_scorer(tmp_path)
    (tmp_path / DESCRIPTION).unlink()
    with pytest.raises(ScorerError, match=DESCRIPTION):
        open_scorer(tmp_path)


def test_an_embedding_scorer_needs_its_embedder(tmp_path: Path) -> None:
    config = TrainConfig(features=replace(EMBEDDED, window_characters=100), folds=3)
    made, figures = train(labelled(), config, name="tiny", embedder=HashEmbedder())
    assert figures["held_out"]["auc"] > 0.95
    made.save(tmp_path)
    opened = load_scorer(str(tmp_path), lambda name: HashEmbedder())
    assert opened.identity() == made.identity()
    assert opened.score(["Iron rusts in wet air."]).tolist() == made.score(["Iron rusts in wet air."]).tolist()
    with pytest.raises(ScorerError, match="hash-trigrams"):
        open_scorer(tmp_path)
    with pytest.raises(IdentityMismatchError, match="train it again"):
        open_scorer(tmp_path, lambda name: OtherEmbedder())
    with pytest.raises(ConfigError, match="embedder"):
        Features(EMBEDDED).matrix(["x"])


class OtherEmbedder(HashEmbedder):
    def identity(self) -> dict[str, object]:
        return {"name": "hash-trigrams", "dim": 65}


def test_the_step_keeps_what_scores_enough_and_counts_the_rest(scorer: Scorer) -> None:
    random = Random(5)
    documents = [Document(source=f"d{row}", text=(menu if row % 3 else sentence)(random)) for row in range(600)]
    counts: Counter[str] = Counter()
    kept = list(Quality(scorer, 0.5).run(iter(documents), counts))
    assert [document.source for document in kept] == [f"d{row}" for row in range(0, 600, 3)]
    assert counts == {DROPPED: 400}
    assert list(Quality(scorer, 0).run(documents)) == documents
    with pytest.raises(ConfigError, match=r"min_quality is 1\.5"):
        Quality(scorer, 1.5)


def test_the_shipped_scorer_puts_texts_in_order() -> None:
    """Golden: prose above menus, lists and licences, in both languages."""
    shipped = load_scorer("general")
    assert "general" in shipped_scorers()
    good = (
        "Iron rusts when it meets water and oxygen. The metal gives up electrons, and the oxide that forms is porous, so it does not "
        "protect what lies below. Painting the surface, or coating it with zinc, keeps the water away and slows the reaction.",
        "水在标准大气压下的沸点是一百摄氏度。海拔越高，气压越低，水的沸点也就越低，因此在高山上煮饭需要更长的时间，人们常用高压锅来解决这个问题。",
    )
    bad = (
        "Home\nProducts\nDownloads\nContact\nLog in\nRegister\nForgot password?\nNext\nPrevious\nTop\nSitemap\nPrivacy\nTerms\nHelp",
        "首页\n产品\n下载\n联系我们\n登录\n注册\n忘记密码\n下一页\n上一页\n返回顶部\n网站地图\n隐私\n条款\n帮助",
    )
    scores = shipped.score([*good, *bad])
    assert scores[:2].min() > 0.6
    assert scores[2:].max() < 0.4
    assert shipped.provenance["folds"]["auc"] > 0.9


def test_names_of_scorers(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="general"):
        load_scorer("genral")
    with pytest.raises(ScorerError, match="holds no scorer"):
        load_scorer(str(tmp_path))


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_labelled_lines(tmp_path: Path) -> None:
    good = [{"text": f"text {row}", "label": row % 6} for row in range(60)]
    rows = read_labelled(write(tmp_path / "a.jsonl", list(good)))
    assert (rows.highest, rows.targets.max(), rows.targets[1]) == (5.0, 1.0, 0.2)
    yes = [{"text": f"text {row}", "label": row % 2 == 0, "source": "s"} for row in range(60)]
    rows = read_labelled(write(tmp_path / "a.jsonl", list(yes)))
    assert (rows.highest, rows.targets.mean(), rows.sources[0]) == (1.0, 0.5, "s")
    assert read_labelled(tmp_path / "a.jsonl", 1.5).highest == 1.5


@pytest.mark.parametrize(
    ("row", "error", "words"),
    [
        ({"text": "x"}, SourceError, "no field 'label'"),
        ({"text": "x", "label": "good"}, SourceError, "finite number"),
        ({"text": "x", "label": float("nan")}, SourceError, "NaN"),
        ({"text": " ", "label": 1}, SourceError, "has no text"),
        ({"text": "x", "label": 1, "source": 3}, SourceError, "'source'"),
        (["x"], SourceError, "not a JSON object"),
        ({"text": "x", "label": 9}, ConfigError, "line 61 has the label 9; labels lie between 0 and 5"),
        ({"text": "x", "label": -1}, ConfigError, "line 61 has the label -1; labels lie"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, row: object, error: type[Exception], words: str) -> None:
    path = write(tmp_path / "a.jsonl", [*({"text": f"t{i}", "label": i % 2} for i in range(60)), row])
    with pytest.raises(error, match=words):
        read_labelled(path)


def test_one_class_and_few_rows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one class only"):
        read_labelled(write(tmp_path / "a.jsonl", [{"text": f"t{i}", "label": 1} for i in range(60)]))
    with pytest.raises(ConfigError, match="3 labelled rows"):
        read_labelled(write(tmp_path / "a.jsonl", [{"text": f"t{i}", "label": i % 2} for i in range(3)]))
    (tmp_path / "a.jsonl").write_text("{\n")
    with pytest.raises(SourceError, match="line 1 is not JSON"):
        read_labelled(tmp_path / "a.jsonl")


def test_the_fit_is_where_the_gradient_vanishes() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(200, 3)).astype(np.float32)
    targets = sigmoid(matrix @ np.array([1.0, -2.0, 0.5]) + 0.3)
    found = fit(matrix, targets, 1e-9)
    assert found == pytest.approx([1.0, -2.0, 0.5, 0.3], abs=1e-2)
    slope, shift = calibrate(targets, 4 * (matrix @ found[:-1]) - 1)
    assert (slope, shift) == pytest.approx((0.25, 0.55), abs=0.02)


def test_figures_of_agreement() -> None:
    targets, scores = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.6, 0.6, 0.9])
    found = agreement(targets, scores)
    assert (found["rows"], found["accuracy"], found["auc"]) == (4, 0.75, 0.875)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.16 + 0.01) / 4)
    assert auc(np.ones(3, dtype=bool), np.ones(3)) is None
