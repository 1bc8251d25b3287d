"""kmem: explicit memory for language models (Memory³, arXiv 2407.01178, and beyond).

Importing kmem imports neither torch nor transformers; each public name loads its own module on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmem.encoder.encode import Encoder as Encoder
    from kmem.encoder.hidden import HiddenStates as HiddenStates
    from kmem.encoder.load import load_model as load_model
    from kmem.kstore.bank import Bank as Bank
    from kmem.kstore.bank import open_bank
    from kmem.memories import Memories as Memories
    from kmem.pipelines.append import append as append
    from kmem.pipelines.build import build as build
    from kmem.pipelines.config import AppendConfig as AppendConfig
    from kmem.pipelines.config import BuildConfig as BuildConfig
    from kmem.profile import Profile as Profile
    from kmem.runtime.attach import attach as attach
    from kmem.runtime.manage import manage as manage
    from kmem.training.calibrate import calibrate as calibrate
    from kmem.training.config import CalibrateConfig as CalibrateConfig

    open = open_bank

__version__ = "0.1.0"

_HOMES = {
    "AppendConfig": ("kmem.pipelines.config", "AppendConfig"),
    "Bank": ("kmem.kstore.bank", "Bank"),
    "BuildConfig": ("kmem.pipelines.config", "BuildConfig"),
    "CalibrateConfig": ("kmem.training.config", "CalibrateConfig"),
    "Encoder": ("kmem.encoder.encode", "Encoder"),
    "HiddenStates": ("kmem.encoder.hidden", "HiddenStates"),
    "Memories": ("kmem.memories", "Memories"),
    "Profile": ("kmem.profile", "Profile"),
    "append": ("kmem.pipelines.append", "append"),
    "attach": ("kmem.runtime.attach", "attach"),
    "build": ("kmem.pipelines.build", "build"),
    "calibrate": ("kmem.training.calibrate", "calibrate"),
    "load_model": ("kmem.encoder.load", "load_model"),
    "manage": ("kmem.runtime.manage", "manage"),
    "open": ("kmem.kstore.bank", "open_bank"),
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'kmem' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
