"""Passages: what calibration learns from is never measured, whoever asks and in whatever order."""

from pathlib import Path

import pytest

from kmem.errors import SourceNotFoundError
from kmem.training.passages import Passage, passages


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for number in range(40):
        (tmp_path / f"{number}.md").write_text(f"# Page {number}\n\n" + f"Sentence {number} of a page that is long enough. " * 5)
    (tmp_path / "short.md").write_text("# Short\n\nToo short.")
    return tmp_path


def test_the_two_parts_are_everything_and_share_nothing(corpus: Path) -> None:
    learnt, held_out = (passages(str(corpus), held_out=part) for part in (False, True))
    assert len(learnt) + len(held_out) == 40
    assert not {passage.id for passage in learnt} & {passage.id for passage in held_out}
    assert 3 <= len(held_out) <= 20
    assert learnt == passages(str(corpus), held_out=False)


def test_the_part_is_a_matter_of_content_alone(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    for number in range(20, 40):
        (other / f"renamed-{99 - number}.md").write_text((corpus / f"{number}.md").read_text())
    everything = {passage.id for passage in passages(str(corpus), held_out=True)}
    assert {passage.id for passage in passages(str(other), held_out=True)} <= everything


def test_nothing_long_enough(tmp_path: Path) -> None:
    (tmp_path / "short.md").write_text("# Short\n\nToo short.")
    with pytest.raises(SourceNotFoundError, match="no document over 150 characters"):
        passages(str(tmp_path), held_out=False)


def test_a_reference_begins_with_its_title() -> None:
    assert Passage("Fox", "An animal.").reference == "Fox: An animal."
    assert Passage("", "An animal.").reference == "An animal."
