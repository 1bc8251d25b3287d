"""`import kmem` is cheap and pulls in nothing heavy; layers import one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kmem

HEAVY = ("torch", "transformers", "faiss", "dask", "triton", "zarr", "sentence_transformers", "pyarrow", "numpy")

FORBIDDEN = {
    "kbuild": ("torch", "transformers", "zarr", "faiss", "kmem.encoder", "kmem.kstore", "kmem.runtime", "kmem.pipelines", "kmem.cli"),
    "encoder": ("zarr", "faiss", "kmem.kstore", "kmem.runtime", "kmem.pipelines", "kmem.cli"),
    "kstore": ("transformers", "dask", "kmem.encoder", "kmem.runtime", "kmem.pipelines", "kmem.cli"),
    "kernels": (
        "transformers",
        "zarr",
        "faiss",
        "kmem.kbuild",
        "kmem.encoder",
        "kmem.kstore",
        "kmem.runtime",
        "kmem.pipelines",
        "kmem.cli",
    ),
    "runtime": ("zarr", "faiss", "kmem.pipelines", "kmem.training", "kmem.cli"),
    "training": ("kmem.pipelines", "kmem.bench", "kmem.cli"),
    "pipelines": ("kmem.training", "kmem.bench", "kmem.cli"),
    "bench": ("kmem.cli",),
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


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_one_way(folder: str) -> None:
    for file in Path(kmem.__file__).parent.joinpath(folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                assert not any(name == bad or name.startswith(f"{bad}.") for bad in FORBIDDEN[folder]), f"{file} imports {name}"


def test_transformers_models_load_beside_our_kernels_folder() -> None:
    """A top-level `kernels` package would shadow Hugging Face's and break this import: ours lives in kmem.kernels."""
    code = "import kmem.kernels, transformers.models.llama.modeling_llama as m; print(m.LlamaForCausalLM.__name__)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "LlamaForCausalLM"
