"""The fields of a JSON object that a file holds, each of the kind that it must be.

A checksum says that a file is what somebody wrote, not that it was kmem: whatever is missing or of another kind raises ValueError, in
words that name the field and what stands there.
"""

from typing import Any

MOST = (1 << 63) - 1
"""The largest number that a file may give: the largest 64-bit one."""


class Fields:
    """The object `data`; `path` is how messages call it, as in `index.stored`; empty for the outermost."""

    def __init__(self, data: object, path: str = "") -> None:
        if type(data) is not dict:
            raise ValueError(f"{path or 'the whole'} is {_shown(data)}, not an object")
        self._data, self._path = data, path

    def __contains__(self, name: str) -> bool:
        return name in self._data

    def name_of(self, name: str) -> str:
        """How messages call a field."""
        return f"{self._path}.{name}" if self._path else name

    def text(self, name: str) -> str:
        """A string with something in it."""
        value = self._of(name, str, "a string")
        if not value:
            raise ValueError(f"{self.name_of(name)} is empty")
        return str(value)

    def count(self, name: str, *, least: int = 0) -> int:
        """A whole number between `least` and MOST."""
        return _count(self._of(name, int, "a whole number"), self.name_of(name), least)

    def counts(self, name: str, *, least: int = 0) -> tuple[int, ...]:
        """A list of whole numbers between `least` and MOST."""
        values = self._of(name, list, "a list of whole numbers")
        return tuple(_count(value, f"{self.name_of(name)}[{at}]", least) for at, value in enumerate(values))

    def share(self, name: str) -> float:
        """A number between 0 and 1; JSON may spell it without a point."""
        value = self.get(name)
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise ValueError(f"{self.name_of(name)} is {_shown(value)}, not a number between 0 and 1")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false."""
        return bool(self._of(name, bool, "true or false"))

    def plain(self, name: str) -> dict[str, Any]:
        """An object, whatever is in it."""
        value: dict[str, Any] = self._of(name, dict, "an object")
        return value

    def inner(self, name: str) -> "Fields":
        """An object."""
        return Fields(self.get(name), self.name_of(name))

    def inners(self, name: str) -> list["Fields"]:
        """A list of objects."""
        return [Fields(value, f"{self.name_of(name)}[{at}]") for at, value in enumerate(self._of(name, list, "a list of objects"))]

    def get(self, name: str) -> Any:
        """Anything, as long as the field is there."""
        if name not in self._data:
            raise ValueError(f"{self.name_of(name)} is missing")
        return self._data[name]

    def _of(self, name: str, kind: type, said: str) -> Any:
        value = self.get(name)
        if type(value) is not kind:  # a bool is an int to isinstance
            raise ValueError(f"{self.name_of(name)} is {_shown(value)}, not {said}")
        return value


def _count(value: Any, name: str, least: int) -> int:
    if type(value) is not int or not least <= value <= MOST:
        raise ValueError(f"{name} is {_shown(value)}, not a whole number of at least {least}")
    return value


def _shown(value: object) -> str:
    return "null" if value is None else f"{value!r:.40}"
