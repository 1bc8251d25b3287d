"""Every option of a build in one YAML file: read, laid under what the command line says, and written out resolved."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from kmem.errors import ConfigError
from kmem.options import plain, require_known, section_of, value_of, yaml_of
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
        return {"sources": list(self.sources), "out": self.out, **plain(self.build.to_dict()), EXECUTOR: asdict(self.executor)}

    def to_yaml(self) -> str:
        return yaml_of(self.to_dict())


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
    require_known(merged, [*_OWN, *names], "")
    return Options(
        sources=_sources(merged.get("sources", ())),
        out=value_of(merged.get("out"), str | None, None, "out"),
        build=section_of(BuildConfig, {name: value for name, value in merged.items() if name in names}),
        executor=section_of(ExecutorConfig, merged.get(EXECUTOR) or {}, f"{EXECUTOR}."),
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


def text_options(recorded: Mapping[str, Any]) -> BuildConfig:
    """How a bank's texts were read, cleaned and cut, of what its build recorded; the rest is as by default."""
    return options_of({name: recorded.get(name, before) for name, before in EARLIER_TEXT.items()}, {}).build
