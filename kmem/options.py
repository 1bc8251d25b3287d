"""Options in a YAML file, read into frozen dataclasses: an unknown name or another kind of value is one sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from kmem import __version__
from kmem.errors import ConfigError


class _Strict(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML ships no types
    """Refuses a key that a mapping has twice, of which YAML's own loader takes the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode):
                if key.value in lines:
                    raise _Twice(key.value, lines[key.value], line)
                lines[key.value] = line
        return super().construct_mapping(node, deep)


class _Twice(Exception):
    """(key, its first line, its second)."""


def read_options(path: str, *, command: str = "kmem build") -> dict[str, Any]:
    """The mapping of a YAML file, as `command` --print-config shows one.

    Raises ConfigError for a file that can't be read, that holds none, or one with a key twice.
    """
    try:
        loader = _Strict(Path(path).read_text(encoding="utf-8"))
        try:
            found = loader.get_single_data()
        finally:
            loader.dispose()
    except _Twice as error:
        key, first, second = error.args
        where = f"line {first}" if first == second else f"lines {first} and {second}"
        raise ConfigError(f"{path} gives {key} twice, in {where}: take one of them out.") from None
    except OSError as error:
        raise ConfigError(f"The configuration {path} can't be read ({error.strerror}): check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML ({' '.join(str(error).split())[:200]}): {command} --print-config shows one.") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds {'nothing' if found is None else type(found).__name__}, not a mapping of options.")
    return found


def yaml_of(options: Mapping[str, Any]) -> str:
    """The options as a file that `read_options` reads, headed by the version."""
    text: str = yaml.safe_dump(plain(options), sort_keys=False, allow_unicode=True)
    return f"# kmem {__version__}\n{text}"


def section_of(kind: Any, data: Any, at: str = "") -> Any:
    """A frozen dataclass of these options over its defaults; what is a dataclass in it is a section of its own.

    A dataclass with a `from_dict` reads itself. `at` stands before a name in errors, as in `executor.`.
    """
    if hasattr(kind, "from_dict"):
        return kind.from_dict(data)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{at.rstrip('.')} must be a mapping of options, not {data!r:.60}.")
    require_known(data, [entry.name for entry in fields(kind)], at)
    types, default = get_type_hints(kind), kind()
    values: dict[str, Any] = {}
    for name, value in data.items():
        if is_dataclass(getattr(default, name)):
            values[name] = section_of(types[name], value if value is not None else {}, f"{at}{name}.")
        else:
            values[name] = value_of(value, types[name], getattr(default, name), f"{at}{name}")
    return replace(default, **values)


def value_of(value: Any, kind: Any, default: Any, name: str) -> Any:
    """The value as its option has it. Raises ConfigError where that is another kind of thing."""
    if isinstance(default, tuple):
        return tuple(value) if isinstance(value, list | tuple) else (value,)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    kinds = get_args(kind) or (kind,)
    if type(value) not in kinds:
        wanted = f"like {default!r}" if default is not None else "a string" if str in kinds else "a whole number"
        quoted = "; a name that is null is written 'null'" if value is None and str in kinds else ""
        raise ConfigError(f"{name} is {value!r:.60}, but must be {wanted}{quoted}.")
    return value


def require_known(data: Mapping[str, Any], known: Sequence[str], at: str) -> None:
    """Raise ConfigError for a name that is none of `known`, naming the nearest."""
    for name in data:
        if name not in known:
            near = get_close_matches(str(name), known, n=1, cutoff=0.4)
            said = f"did you mean {at}{near[0]}?" if near else f"there are {', '.join(known)}."
            raise ConfigError(f"There is no option {at}{name}; {said}")


def plain(data: Any) -> Any:
    """With lists for tuples, as YAML and JSON give them back."""
    if isinstance(data, dict):
        return {name: plain(value) for name, value in data.items()}
    return [plain(entry) for entry in data] if isinstance(data, list | tuple) else data


def differing(recorded: Mapping[str, Any], now: Mapping[str, Any], at: str = "") -> list[str]:
    """What is no longer as it was recorded, a phrase each: `task.pairs was 8, is now 16`."""
    found: list[str] = []
    for name in sorted(recorded.keys() | now.keys()):
        before, after = recorded.get(name), now.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differing(before, after, f"{at}{name}.")
        elif before != after:
            found.append(f"{at}{name} was {before}, is now {after}")
    return found
