"""The frame around every benchmark's figures: machine, versions and command."""

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

PACKAGES = ("kmem", "torch", "transformers", "zarr", "faiss-cpu", "numpy")


def framed(name: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures with what is needed to repeat and to judge them."""
    return {
        "benchmark": name,
        **figures,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "command": " ".join(["kmem", *sys.argv[1:]]),
    }
