"""A calibration's checkpoint: its settings and state as one JSON file beside the result, so that a stopped one can go on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmem.errors import BankExistsError, ConfigError, CorruptBankError
from kmem.kstore.place import LocalPlace
from kmem.training.calibrate import State
from kmem.training.config import CalibrateConfig


@dataclass(frozen=True)
class Checkpoint:
    """The file `path`."""

    path: Path

    def begin(self, config: CalibrateConfig, *, resume: bool) -> State:
        """The state to go on from, or a new one.

        Raises BankExistsError when one is there and resume is False, ConfigError when it was made with other settings, CorruptBankError
        when it can't be read.
        """
        if not self.path.exists():
            return State()
        if not resume:
            raise BankExistsError(f"{self.path} holds a stopped calibration; pass --resume to go on with it, or delete that file.")
        try:
            data = json.loads(self.path.read_bytes())
            recorded, state = dict(data["settings"]), State.from_dict(data["state"])
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptBankError(f"{self.path} is damaged ({error!r}); delete it and calibrate again.") from error
        settings = config.to_dict()
        differing = [f"{key} was {recorded.get(key)}, is now {settings[key]}" for key in settings if recorded.get(key) != settings[key]]
        if differing:
            raise ConfigError(
                f"{self.path} was begun with other settings: {'; '.join(differing)}; give the same again, or delete that file."
            )
        return state

    def save(self, config: CalibrateConfig, state: State) -> None:
        """Replace the file."""
        data: dict[str, Any] = {"settings": config.to_dict(), "state": state.to_dict()}
        LocalPlace(self.path.parent).replace(self.path.name, json.dumps(data).encode())

    def remove(self) -> None:
        """Once the profiles are written."""
        self.path.unlink(missing_ok=True)
