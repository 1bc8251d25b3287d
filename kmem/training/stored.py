"""A run in one file: tensors as safetensors, and in its header, as JSON, what they belong to. Replaced whole or not at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from kmem.errors import CorruptBankError
from kmem.kstore.place import LocalPlace

HEADER = "kmem"


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """What a file holds."""

    tensors: dict[str, Tensor]
    header: dict[str, Any]


def write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Replace the file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    LocalPlace(path.parent).replace(path.name, save(plain, metadata={HEADER: json.dumps(header)}))


def read(path: Path) -> Stored:
    """Raises CorruptBankError for a file that is none of these."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            return Stored(tensors={name: file.get_tensor(name) for name in file.keys()}, header=dict(header))  # noqa: SIM118  # no mapping
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CorruptBankError(f"{path} is damaged or no run of kmem train ({error}); delete it and train again.") from error
