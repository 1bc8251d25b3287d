"""A calibration's checkpoint: its settings and state as one JSON file beside the result, so that a stopped one can go on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmem.errors import BankExistsError, ConfigError, CorruptBankError
from kmem.kstore.place import LocalPlace
from kmem.training.calibrate import Calibrator
from kmem.training.state import State


@dataclass(frozen=True)
class Checkpoint:
    """The file `path`."""

    path: Path

    def require(self, *, resume: bool) -> None:
        """Raise BankExistsError when a checkpoint is there and is not to be gone on with."""
        if self.path.exists() and not resume:
            raise BankExistsError(f"{self.path} holds a stopped calibration; pass --resume to go on with it, or delete that file.")

    def load(self, calibrator: Calibrator) -> State:
        """The state to go on from, or a new one.

        Raises ConfigError when it was made with other settings, model, passages or version, CorruptBankError when it can't be read.
        """
        if not self.path.exists():
            return State()
        try:
            data = json.loads(self.path.read_bytes())
            self._require_own(dict(data["settings"]), calibrator.settings)
            return calibrator.state_of(data["state"])
        except ConfigError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise CorruptBankError(f"{self.path} is damaged ({reason}); delete it and calibrate again.") from error

    def save(self, settings: Mapping[str, Any], state: State) -> None:
        """Replace the file."""
        data = {"settings": settings, "state": state.to_dict()}
        LocalPlace(self.path.parent).replace(self.path.name, json.dumps(data).encode())

    def remove(self) -> None:
        """Once the profiles are written."""
        self.path.unlink(missing_ok=True)

    def _require_own(self, recorded: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        differing = [f"{key} was {recorded.get(key)}, is now {settings[key]}" for key in settings if recorded.get(key) != settings[key]]
        if differing:
            raise ConfigError(
                f"{self.path} was begun with other settings: {'; '.join(differing)}; give the same again, or delete that file."
            )
