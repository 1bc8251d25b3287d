"""The frame around every benchmark's figures: machine, versions and command."""

import os
import platform
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

PACKAGES = ("kmem", "torch", "transformers", "zarr", "faiss-cpu", "numpy")
CONTENDERS = ("tensorstore", "zarrs")
"""Packages of the extra `bench`: named only where they are installed."""


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
        "versions": {"python": platform.python_version(), **_versions()},
        "command": shlex.join(["kmem", *sys.argv[1:]]),
    }


def _versions() -> dict[str, str]:
    found = {package: version(package) for package in PACKAGES}
    for package in CONTENDERS:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
