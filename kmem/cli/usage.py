"""Wrong usage in one sentence: Typer's own errors, without its box, with the value and the way out."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import typer

from kmem.errors import ConfigError, WrongTypeError

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Typer exports only this subclass of its usage errors."""


def explain(error: Exception) -> str:
    """What was wrong with the command line, and where to look. Empty where Typer has printed the help instead."""
    said = str(getattr(error, "format_message", error.__str__)())
    if not said:
        return ""
    problems: list[dict[str, str]] = getattr(error.__context__, "errors", list)()  # pydantic's, which know the value that Typer leaves out
    if problems:
        said = f"{_parameter(error)} can't be {problems[0]['input']!r}: {_reason(problems[0])}"
    elif re.match("No such option: -[^-]", said):
        said += "; write -- before a value that begins with a minus"
    context = getattr(error, "ctx", None)
    said = re.sub(r" \(Possible options: ([^)]+)\)", r"; did you mean \1?", said)
    said = said.rstrip(".").replace(". Did", "; did")
    return f"{said}; see {context.command_path if context else 'kmem'} --help."


def _reason(problem: dict[str, str]) -> str:
    if problem["type"] == "value_error":  # Typer's own words, about one of several choices
        return problem["msg"].removeprefix("Value error, ").replace(repr(problem["input"]), "it")
    return problem["msg"].partition(",")[0].replace("Input", "it")


def _parameter(error: Exception) -> str:
    parameter = getattr(error, "param", None)
    if parameter is None:
        return "A value"
    return str(parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar or parameter.name)


@contextmanager
def naming_flags(context: typer.Context, names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Where a value is refused under the name that configuration has for it, call it by the flag that it came by.

    names: of parameters whose option is called otherwise there, as `section.option`. What came by a file keeps its name.
    """
    try:
        yield
    except (ConfigError, WrongTypeError) as error:
        error.args = (_with_flags(str(error), context, names or {}),)
        raise


def _with_flags(said: str, context: typer.Context, names: Mapping[str, str]) -> str:
    """A name of two words, or with its section, is an option's wherever it stands, a plain word only where the sentence begins with it."""
    typed: dict[str, str] = {}
    others: dict[str, str] = {}
    for parameter in context.command.params:
        name = names.get(str(parameter.name), str(parameter.name))
        source = context.get_parameter_source(str(parameter.name))
        if parameter.param_type_name == "option":
            (typed if source is not None and source.name == "COMMANDLINE" else others)[name] = str(parameter.opts[0])
    if any(re.match(_pattern(name), said) for name in typed):
        typed |= {name: flag for name, flag in others.items() if "." in name}
    for name, flag in typed.items():
        said = re.sub(_pattern(name), flag, said)
    return said


def _pattern(name: str) -> str:
    _, dot, option = name.rpartition(".")
    ends = r"(?![\w.]*\w)"
    alone = rf"(?<![\w.-]){re.escape(option)}{ends}" if "_" in option else rf"^{re.escape(option)}{ends}"
    return rf"(?<![\w.-]){re.escape(name)}{ends}|{alone}" if dot else alone
