"""Wrong usage in one sentence: Typer's own errors, without its box, with the value and the way out."""

import typer

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
    elif said.startswith("No such option"):
        said += "; write -- before a value that begins with a minus"
    context = getattr(error, "ctx", None)
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
