"""Every option of a build in one YAML file: read, laid under what the command line says, and written out resolved."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from kmem import __version__
from kmem.errors import ConfigError
from kmem.kbuild.rules.config import RulesConfig
from kmem.pipelines.config import EARLIER_TEXT, BuildConfig, ExecutorConfig

EXECUTOR = "executor"
_OWN = ("sources", "out", EXECUTOR)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `kmem build` is asked for."""

    sources: tuple[str, ...] = ()
    out: str | None = None
    build: BuildConfig = field(default_factory=BuildConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)

    def to_dict(self) -> dict[str, Any]:
        """As the file has it, every option spelled out."""
        return {"sources": list(self.sources), "out": self.out, **_plain(self.build.to_dict()), EXECUTOR: asdict(self.executor)}

    def to_yaml(self) -> str:
        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
        return f"# kmem {__version__}\n{text}"


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


def read_options(path: str) -> dict[str, Any]:
    """The mapping of a YAML file. Raises ConfigError for a file that can't be read, that holds none, or one with a key twice."""
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
        raise ConfigError(f"{path} is no YAML ({' '.join(str(error).split())[:200]}): kmem build --print-config shows one.") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds {'nothing' if found is None else type(found).__name__}, not a mapping of options.")
    return found


def options_of(data: Mapping[str, Any], given: Mapping[str, Any]) -> Options:
    """A file's mapping with what was given besides on top; in `given`, `section.option` is an option of a section.

    Raises ConfigError for an option that there is not, naming the nearest one, and what the sections raise about values.
    """
    merged = {name: dict(value) if isinstance(value, Mapping) else value for name, value in data.items()}
    for name, value in given.items():
        section, dot, option = name.partition(".")
        if dot:
            inner = merged.get(section)
            merged[section] = {**(inner if isinstance(inner, dict) else {} if inner is None else {"preset": inner}), option: value}
        else:
            merged[name] = value
    _require_used(merged, given)
    names = [entry.name for entry in fields(BuildConfig)]
    _require_known(merged, [*_OWN, *names], "")
    return Options(
        sources=_sources(merged.get("sources", ())),
        out=_value(merged.get("out"), str | None, None, "out"),
        build=_section(BuildConfig, {name: value for name, value in merged.items() if name in names}, ""),
        executor=_section(ExecutorConfig, merged.get(EXECUTOR) or {}, f"{EXECUTOR}."),
    )


def _require_used(merged: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise ConfigError for what was given and would do nothing. A file may hold it: the one that is printed holds every option."""
    for option, wanted in (
        ("quality.minimum", ("quality.scorer",)),
        ("executor.threads_per_worker", ("executor.workers", "executor.scheduler")),
    ):
        section = merged.get(option.partition(".")[0]) or {}
        if option in given and not any(section.get(name.partition(".")[2]) is not None for name in wanted):
            raise ConfigError(f"{option} does nothing without {wanted[0]}: give that too, or leave it out.")


def _sources(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Sequence) or not all(isinstance(source, str) for source in value):
        raise ConfigError(f"sources must be a list of files, folders, globs or corpora, not {value!r:.60}.")
    return tuple(value)


def _section(kind: Any, data: Any, at: str) -> Any:
    """A frozen dataclass of these options; what is a mapping in it is a section of its own."""
    if kind is RulesConfig:
        return RulesConfig.from_dict(data)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{at.rstrip('.')} must be a mapping of options, not {data!r:.60}.")
    _require_known(data, [entry.name for entry in fields(kind)], at)
    types, default = get_type_hints(kind), kind()
    values: dict[str, Any] = {}
    for name, value in data.items():
        if is_dataclass(getattr(default, name)):
            values[name] = _section(types[name], value if value is not None else {}, f"{at}{name}.")
        else:
            values[name] = _value(value, types[name], getattr(default, name), f"{at}{name}")
    return replace(default, **values)


def _value(value: Any, kind: Any, default: Any, name: str) -> Any:
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


def _require_known(data: Mapping[str, Any], known: Sequence[str], at: str) -> None:
    for name in data:
        if name not in known:
            near = get_close_matches(str(name), known, n=1, cutoff=0.4)
            said = f"did you mean {at}{near[0]}?" if near else f"there are {', '.join(known)}."
            raise ConfigError(f"There is no option {at}{name}; {said}")


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _plain(value) for name, value in data.items()}
    return [_plain(entry) for entry in data] if isinstance(data, list | tuple) else data


def text_options(recorded: Mapping[str, Any]) -> BuildConfig:
    """How a bank's texts were read, cleaned and cut, of what its build recorded; the rest is as by default."""
    return options_of({name: recorded.get(name, before) for name, before in EARLIER_TEXT.items()}, {}).build
