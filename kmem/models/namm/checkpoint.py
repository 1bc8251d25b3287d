"""A NAMM in one file: safetensors, and in its header, as JSON, what it is and where it came from."""

import json
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kmem.arguments import require_name
from kmem.errors import CheckpointError, ConfigError, FormatVersionError, UnknownNameError, WrongTypeError
from kmem.models.namm.config import NammConfig
from kmem.models.namm.scorer import Namm

HEADER = "kmem-namm"
VERSION = 1
SUFFIX = ".safetensors"
SHIPPED = "kmem.models.namm.checkpoints"


def shipped_namms() -> list[str]:
    """Names of those that are package data."""
    return sorted(entry.name.removesuffix(SUFFIX) for entry in files(SHIPPED).iterdir() if entry.name.endswith(SUFFIX))


def save_namm(namm: Namm, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
    """Replace the file. notes: whatever JSON holds, as how it was learnt; `notes_of` reads them."""
    path = Path(path)
    header = {"version": VERSION, "config": namm.config.to_dict(), "notes": dict(notes or {})}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in namm.state_dict().items()}
    waiting = path.with_name(f".{path.name}.part")
    save_file(tensors, waiting, metadata={HEADER: json.dumps(header)})
    waiting.replace(path)


def load_namm(name_or_path: str | Path) -> Namm:
    """A shipped one by name, or that of a file.

    Raises UnknownNameError where it is neither, CheckpointError for a file that is damaged or holds something else, FormatVersionError
    for one of another version.
    """
    if str(name_or_path) in shipped_namms():
        with as_file(files(SHIPPED) / f"{name_or_path}{SUFFIX}") as path:
            return _load(path)
    return _load(_require_file(name_or_path))


def notes_of(path: str | Path) -> dict[str, Any]:
    """What `save_namm` was given to note; raises what `load_namm` does."""
    return dict(_read(_require_file(path))[1]["notes"])


def _require_file(path: str | Path) -> Path:
    require_name(str(path), "The NAMM")
    if not Path(path).is_file():
        raise UnknownNameError("NAMM", str(path), [*shipped_namms(), "or a file that save_namm wrote"])
    return Path(path)


def _load(path: Path) -> Namm:
    tensors, header = _read(path)
    try:
        namm = Namm(NammConfig.from_dict(header["config"]))
        namm.load_state_dict(tensors)
    except (ConfigError, UnknownNameError, WrongTypeError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{path} holds no NAMM that can be built ({' '.join(str(error).split())[:200]}); save it again.") from error
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise CheckpointError(f"{path} holds numbers that are not finite; learn or save it again.")
    return namm.requires_grad_(False).eval()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = dict(json.loads((file.metadata() or {})[HEADER]))
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        version = header["version"]
        if version == VERSION and not ("config" in header and "notes" in header):
            raise KeyError("config")
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no NAMM ({' '.join(str(error).split())[:200]}); save it again.") from error
    if version != VERSION:
        raise FormatVersionError(f"{path} is a NAMM of format version {version!r}; this kmem reads {VERSION}.")
    return tensors, header
