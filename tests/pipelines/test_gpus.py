"""Worker processes with a GPU each, as far as that can be seen without one; and, where there is one, a bank that was encoded on it."""

import os
import sys
from pathlib import Path

import pytest
import torch
from distributed import LocalCluster

import kmem
from kmem.errors import ConfigError, MissingDependencyError
from kmem.pipelines.build import build
from kmem.pipelines.config import ExecutorConfig
from kmem.pipelines.executors import gpus
from kmem.pipelines.executors.cluster import Cluster
from kmem.pipelines.executors.gpus import local_cluster
from kmem.pipelines.ledger import Receipt
from kmem.pipelines.tools import Tools
from tests.pipelines.test_build import config

DASK_CUDA = """
from distributed import LocalCluster


class LocalCUDACluster(LocalCluster):
    # As dask-cuda 26.10: no worker is started before each has a list of devices of its own, rotated.
    def __init__(self, *, n_workers, device_memory_limit, **options):
        assert device_memory_limit is None
        self.devices = ["0", "1"]
        super().__init__(n_workers=0, processes=True, **options)
        self.scale(n_workers)
        self.sync(self._correct_state)

    def new_worker_spec(self):
        (name, spec), = super().new_worker_spec().items()
        seen = ",".join(self.devices[name:] + self.devices[:name])
        return {name: {**spec, "options": {**spec["options"], "env": {"CUDA_VISIBLE_DEVICES": seen}}}}
"""


@pytest.fixture
def dask_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something installed under its name that does to processes what it does."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "dask_cuda.py").write_text(DASK_CUDA)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "dask_cuda", raising=False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "require_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def kind(workers: int, device: str) -> str:
    return str(local_cluster(workers, device).func.__name__)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("two_gpus", "dask_cuda")
def test_each_worker_has_a_gpu_of_its_own() -> None:
    assert kind(2, "cuda") == "LocalCUDACluster"
    assert kind(1, "cuda") == kind(1, "cuda:1") == kind(9, "cpu") == LocalCluster.__name__
    with pytest.raises(
        ConfigError, match=r"^--workers 3 with --device cuda, where PyTorch finds 2 GPUs, and each holds one .* --workers 2\.$"
    ):
        local_cluster(3, "cuda")
    with pytest.raises(ConfigError, match=r"--workers 2 with --device cuda:1, where PyTorch finds 1 GPU, .* --workers 1\.$"):
        local_cluster(2, "cuda:1")


@pytest.mark.usefixtures("two_gpus")
def test_several_gpus_are_given_out_by_dask_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "find_spec", lambda name: None)
    assert kind(1, "cuda") == LocalCluster.__name__
    with pytest.raises(
        MissingDependencyError, match=r"--workers 2 on GPUs needs dask-cuda, .*: pip install dask-cuda, or give --workers 1\."
    ):
        local_cluster(2, "cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_told_before_a_process_is_started(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^Device 'cuda' can't be used here \(.*\); give 'cpu'"):
        build(corpus, out=tmp_path / "bank", config=config(tiny_folder, device="cuda"), executor=ExecutorConfig(workers=2))
    assert not (tmp_path / "bank").exists()


def devices(task: int, tools: Tools) -> Receipt:
    """What a worker sees; it takes long enough for the other one to get a task, too."""
    import time

    time.sleep(0.3)
    return Receipt(index=task, facts={"seen": os.environ.get("CUDA_VISIBLE_DEVICES")})


@pytest.mark.slow
@pytest.mark.usefixtures("two_gpus", "dask_cuda")
def test_steps_run_where_dask_cuda_put_them() -> None:
    running = Cluster(ExecutorConfig(workers=2), "cuda")
    try:
        running._client.wait_for_workers(2, timeout=120)
        seen = {outcome.receipt.facts["seen"] for outcome in running.map(devices, range(8), lambda *_: None) if outcome.receipt}
    finally:
        running.close()
    assert seen == {"0,1", "1,0"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("workers", [None, 1])
def test_a_bank_that_a_gpu_encoded(tiny_folder: Path, corpus: Path, tmp_path: Path, workers: int | None) -> None:
    """The same chunks; the same numbers but for the order of sums."""
    for device in ("cpu", "cuda"):
        where = ExecutorConfig(workers=workers if device == "cuda" else None)
        build(corpus, out=tmp_path / device, config=config(tiny_folder, device=device, quantiser="fp32"), executor=where)
    with kmem.open(tmp_path / "cpu") as one, kmem.open(tmp_path / "cuda") as other:
        assert one.ids.tolist() == other.ids.tolist()
        assert one.chunks(one.ids.tolist()) == other.chunks(one.ids.tolist())
        torch.testing.assert_close(one.read(one.ids.tolist()).kv, other.read(one.ids.tolist()).kv, atol=1e-4, rtol=1e-4)
