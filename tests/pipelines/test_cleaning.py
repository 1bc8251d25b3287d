"""Rules, languages, scores and copies inside a build: each stage drops by its reason, whatever the partitions; and the picture of it."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

import kmem
from kmem.errors import ConfigError
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.language import LanguagesConfig
from kmem.kbuild.rules.config import RulesConfig
from kmem.pipelines.build import build
from kmem.pipelines.config import ExecutorConfig, QualityConfig
from kmem.pipelines.picture import draw_build
from tests.pipelines.test_build import bank_bytes, config

PROSE = (
    "Iron rusts when it meets water and oxygen. The metal gives up electrons, and the oxide that forms is porous, so it does not "
    "protect what lies below. Painting the surface, or coating it with zinc, keeps the water away and slows the reaction."
)
CHINESE = (
    "水在标准大气压下的沸点是一百摄氏度。海拔越高，气压越低，水的沸点也就越低，"
    "因此在高山上煮饭需要更长的时间，人们常用高压锅来解决这个问题。"
)
MENU = "Home\nProducts\nDownloads\nContact\nLog in\nRegister\nForgot password?\nNext\nPrevious\nTop\nSitemap\nPrivacy\nTerms\nHelp"
FRENCH = "Le fer rouille quand il rencontre l'eau et l'oxygène de l'air, et l'oxyde qui se forme ne protège pas ce qui est dessous."
LOREM = f"{PROSE} Lorem ipsum dolor sit amet."
TEXTS = {"a": PROSE, "b": MENU, "c": CHINESE, "d": PROSE, "e": FRENCH, "f": LOREM}
"""Of which `a` and `c` are to be kept."""


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    (tmp_path / "mixed").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "mixed" / f"{name}.txt").write_text(text, encoding="utf-8")
    return tmp_path / "mixed"


def test_every_stage_drops_by_its_reason(tiny_folder: Path, mixed: Path, tmp_path: Path) -> None:
    options = config(
        tiny_folder,
        embedder="bm25",
        rules=RulesConfig.from_dict({"preset": "light", "lorem-ipsum": True}),
        languages=LanguagesConfig(keep=("en", "zh")),
        dedup=DedupConfig(mode="exact"),
        quality=QualityConfig(scorer="general", minimum=0.5),
    )
    report = build(mixed, out=tmp_path / "one", config=options)
    assert report.flow["documents"] == {
        "in": 6,
        "kept": 2,
        "lost": {"dropped: exact duplicate": 1, "dropped: language fr": 1, "dropped: lorem-ipsum": 1, "dropped: quality": 1},
    }
    stages = json.loads((tmp_path / "one" / "build" / "stats.json").read_text())["stages"]
    assert [(name, stages[name]["in"], stages[name]["kept"]) for name in ("read", "deduplicate", "score")] == [
        ("read", 6, 4),
        ("deduplicate", 4, 3),
        ("score", 3, 2),
    ]
    assert stages["score"]["dropped"] == {"quality": 1}
    build(mixed, out=tmp_path / "many", config=options, executor=ExecutorConfig(partition_bytes=1))
    assert bank_bytes(tmp_path / "many") == bank_bytes(tmp_path / "one")
    with kmem.open(tmp_path / "one") as bank:
        chunks = bank.chunks(bank.ids.tolist())
        assert {Path(chunk.source).stem for chunk in chunks} == {"a", "c"}
        for chunk in chunks:
            assert TEXTS[Path(chunk.source).stem][chunk.start : chunk.end] == chunk.text
    (manifest,) = (tmp_path / "many" / "manifests").iterdir()
    manifest.unlink()
    with pytest.raises(ConfigError, match=r"quality\.minimum was 0\.5, is now 0\.9"):
        build(mixed, out=tmp_path / "many", config=config(tiny_folder, **_changed(options, minimum=0.9)), resume=True)


def _changed(options: kmem.BuildConfig, minimum: float) -> dict[str, object]:
    kept = {name: getattr(options, name) for name in ("embedder", "rules", "languages", "dedup")}
    return {**kept, "quality": QualityConfig(scorer="general", minimum=minimum)}


def test_the_picture_shows_lengths_drops_and_rates() -> None:
    """A PNG of the size that was asked for, with ink of each of its three colours; nothing dropped is no error."""
    from io import BytesIO

    from matplotlib.image import imread

    stage = {"unit": "documents", "in": 9, "kept": 7, "dropped": {"quality": 2}, "rejected": {}, "worker_seconds": 1.5}
    for dropped, red in (({"quality": 2}, True), ({}, False)):
        png = draw_build({"read": stage | {"dropped": dropped}}, [0, 3, 5], 128)
        assert png.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", png[16:24])
        assert width / height == pytest.approx(8 / 9, abs=0.01)
        pixels = imread(BytesIO(png), format="png")[..., :3]
        for colour, wanted in (((0.122, 0.467, 0.706), True), ((0.839, 0.153, 0.157), red), ((0.173, 0.627, 0.173), True)):
            assert bool((np.abs(pixels - np.array(colour)) < 0.02).all(axis=-1).any()) == wanted
