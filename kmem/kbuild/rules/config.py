"""Which rules apply and at which limits: a preset and what is changed in it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kmem.errors import ConfigError, UnknownNameError, UnknownRuleError, WrongTypeError
from kmem.kbuild.rules import RULES
from kmem.kbuild.rules.rule import LIGHT, NONE, WEB

PRESETS = (NONE, LIGHT, WEB)
_OFF = "no-"


@dataclass(frozen=True, kw_only=True)
class RulesConfig:
    """`preset`: `none`, `light` (what can't be read) or `web` (pages that a crawler brought). `changes`, by rule: a limit, True or False.

    A rule that is not in the preset is switched on by True, or by a limit. Raises UnknownNameError for the preset, UnknownRuleError for a
    rule, ConfigError and WrongTypeError for a limit.
    """

    preset: str = LIGHT
    changes: Mapping[str, float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise UnknownNameError("preset of rules", str(self.preset), PRESETS)
        for name, limit in self.changes.items():
            if name not in RULES:
                raise UnknownRuleError(str(name), list(RULES))
            _require_limit(name, limit)
        object.__setattr__(self, "changes", dict(self.changes))

    @classmethod
    def parse(cls, preset: str = LIGHT, options: Iterable[str] = ()) -> "RulesConfig":
        """From the command line: `min-words=20` sets a limit, `max-words` switches on, `no-lorem-ipsum` off; the last one counts."""
        return cls(preset=preset, changes=dict(_option(option) for option in options))

    @classmethod
    def from_dict(cls, options: "Mapping[str, float | bool | str] | str") -> "RulesConfig":
        """From YAML: a preset, or a mapping such as `{preset: web, min-words: 20, lorem-ipsum: false}`."""
        if isinstance(options, str):
            return cls(preset=options)
        if not isinstance(options, Mapping):
            raise WrongTypeError(f"rules must be a preset or a mapping such as {{preset: web, min-words: 20}}, not {options!r:.40}.")
        changes = {str(name): limit for name, limit in options.items() if name != "preset"}
        return cls(preset=str(options.get("preset", LIGHT)), changes=changes)  # type: ignore[arg-type]  # a string is refused in there

    def to_dict(self) -> dict[str, float | bool | str]:
        """The mapping that `from_dict` reads."""
        return {"preset": self.preset, **self.changes}

    @property
    def limits(self) -> dict[str, float]:
        """The limit of every rule that applies, in the order they are asked."""
        limits = {}
        for name, rule in RULES.items():
            change = self.changes.get(name, self.preset in rule.presets)
            if change is not False:
                limits[name] = rule.limit if change is True else float(change)
        return limits


def _option(option: str) -> tuple[str, float | bool]:
    name, equals, value = option.partition("=")
    name = name.strip()
    if equals:
        return name, _number(name, value.strip())
    return (name.removeprefix(_OFF), False) if name.startswith(_OFF) else (name, True)


def _number(name: str, value: str) -> float:
    if name not in RULES:
        raise UnknownRuleError(name, list(RULES))
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"The limit of rule {name} is {value!r}, no number: write {name}={RULES[name].limit:g}, or no-{name}.") from None


def _require_limit(name: str, limit: object) -> None:
    if not isinstance(limit, bool | int | float):
        raise WrongTypeError(f"The limit of rule {name} must be a number, true or false, not {limit!r:.40}.")
    if not math.isfinite(limit) or limit < 0:
        raise ConfigError(f"The limit of rule {name} is {limit}: give a number of at least 0, as its default {RULES[name].limit:g}.")
