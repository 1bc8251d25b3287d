"""The attention benchmark in the interpreter: that it runs and counts right, not what it measures."""

import subprocess
import sys

import pytest
import torch

from kmem.bench import attention
from kmem.bench.attention import MEMORY3_2B, Shape, attention_figures

TINY = Shape(batch=2, query_heads=4, heads=2, dim=16, queries=3, keys=5, memories=2, slots=4, bracket=1, every=2)


def test_figures_hang_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_CACHE_BYTES", 1 << 20)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    figures = attention_figures({"tiny": TINY}, device=device, dtype=torch.float32, repeats=2)
    tiny = figures["tiny"]
    assert tiny["share_of_copy_bandwidth"] == pytest.approx(tiny["gb_per_s"] / figures["copy_gb_per_s"], abs=1e-3)
    assert tiny["calls_per_s"] * tiny["microseconds"] == pytest.approx(1e6, rel=5e-2)  # rounded for people


def test_bytes_are_counted_once_each() -> None:
    assert TINY.segments == 4
    context, slots, bracket, both_ends = 2 * 2 * 2 * 5, 2 * 4 * 2 * 2 * 4, 2 * 2 * 1, 2 * 2 * 3 * 4
    assert TINY.read_bytes(4) == (context + slots + bracket + both_ends) * 16 * 4
    assert MEMORY3_2B["decode"].read_bytes(2) == (2 * 32 * 8 * (256 + 40) + 2 * 8 * 4 + 2 * 32 * 40) * 80 * 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    done = subprocess.run([sys.executable, "-m", "kmem.bench.attention"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("The attention is measured on a GPU")
