"""`import kmem` is cheap and pulls in nothing heavy; layers import one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kmem

HEAVY = ("torch", "transformers", "faiss", "dask", "triton", "zarr", "sentence_transformers", "pyarrow", "numpy")

LAYERS = ("kernels", "models", "kbuild", "encoder", "kstore", "runtime", "training", "pipelines", "bench", "plan", "cli")
"""From the bottom: a folder never imports one to its right, nor one that is not its business."""
SIDEWAYS = {
    "kernels": ("transformers", "zarr", "faiss"),
    "models": ("zarr", "faiss"),
    "kbuild": ("torch", "transformers", "zarr", "faiss", "kmem.kernels", "kmem.models"),
    "encoder": ("zarr", "faiss", "kmem.kbuild"),
    "kstore": ("transformers", "dask", "kmem.kernels.memory_attention", "kmem.models", "kmem.kbuild", "kmem.encoder"),
    "runtime": ("zarr", "faiss", "kmem.kbuild"),
}


def test_import_kmem_is_light_and_fast() -> None:
    code = "import time; t = time.perf_counter(); import kmem, sys; s = time.perf_counter() - t; print(s); print(*sys.modules)"
    best = 9.0
    for _ in range(3):
        seconds, modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
        assert not set(HEAVY) & set(modules.split())
        best = min(best, float(seconds))
    assert best < 0.3


def test_public_names_resolve() -> None:
    for name in kmem.__all__:
        assert getattr(kmem, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'atach'"):
        _ = kmem.atach


def imported_by(file: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
    return names


@pytest.mark.parametrize("folder", LAYERS)
def test_imports_point_one_way(folder: str) -> None:
    above = tuple(f"kmem.{layer}" for layer in LAYERS[LAYERS.index(folder) + 1 :])
    for file in Path(kmem.__file__).parent.joinpath(folder).rglob("*.py"):
        for name in imported_by(file):
            bad = [other for other in (*above, *SIDEWAYS.get(folder, ())) if name == other or name.startswith(f"{other}.")]
            assert not bad, f"{file} imports {name}"


@pytest.mark.parametrize(
    ("package", "files"), [("triton", ["kernels/*/triton*.py"]), ("faiss", ["kstore/index/*.py", "kstore/quant/vq_train.py"])]
)
def test_what_is_optional_or_heavy_is_imported_in_few_files(package: str, files: list[str]) -> None:
    """Triton is an extra; a bank of `vq` is decoded where FAISS is blocked."""
    root = Path(kmem.__file__).parent
    importing = {file for file in root.rglob("*.py") if package in imported_by(file)}
    assert importing
    assert importing <= {file for pattern in files for file in root.glob(pattern)}


def test_what_all_share_imports_no_folder() -> None:
    """`__init__` hands out names when asked, `__main__` is the command."""
    root = Path(kmem.__file__).parent
    for file in (*root.glob("*.py"), *root.glob("leak/*.py")):
        if file.stem not in ("__init__", "__main__"):
            folders = tuple(f"kmem.{layer}." for layer in LAYERS)
            assert not [name for name in imported_by(file) if f"{name}.".startswith(folders)], file


def test_transformers_models_load_beside_our_kernels_folder() -> None:
    """A top-level `kernels` package would shadow Hugging Face's and break this import: ours lives in kmem.kernels."""
    code = "import kmem.kernels, transformers.models.llama.modeling_llama as m; print(m.LlamaForCausalLM.__name__)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "LlamaForCausalLM"
