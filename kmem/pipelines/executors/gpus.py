"""What starts the worker processes of this machine: Dask, or dask-cuda where each is to have a GPU of its own."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from distributed import LocalCluster

from kmem.encoder.load import require_device
from kmem.errors import ConfigError, MissingDependencyError

CUDA = "cuda"


def local_cluster(workers: int, device: str) -> Callable[..., Any]:
    """The class of a cluster of so many processes whose model runs on `device`, which holds one model.

    `cuda` is as many devices as PyTorch finds, `cuda:1` is one. Raises ConfigError where there are fewer than workers, or none,
    MissingDependencyError where several are to be given out and dask-cuda is not installed.
    """
    if device.partition(":")[0] != CUDA:
        return partial(LocalCluster, processes=True)
    require_device(device)
    gpus = torch.cuda.device_count() if device == CUDA else 1
    if workers > gpus:
        raise ConfigError(
            f"--workers {workers} with --device {device}, where PyTorch finds {gpus} GPU{'' if gpus == 1 else 's'}, and each holds one "
            f"model: give --workers {gpus}."
        )
    if workers == 1:
        return partial(LocalCluster, processes=True)
    if find_spec("dask_cuda") is None:
        raise MissingDependencyError(
            f"--workers {workers} on GPUs needs dask-cuda, which gives each its own, and it is not installed: pip install dask-cuda, "
            "or give --workers 1."
        )
    from dask_cuda import LocalCUDACluster

    return partial(LocalCUDACluster, device_memory_limit=None)  # what Dask moves is receipts: there is nothing to take off a GPU
