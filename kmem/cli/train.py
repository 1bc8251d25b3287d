"""`kmem train NAME`: train a model of ours by a recipe. One file a command."""

import typer

from kmem.cli import train_lm, train_mqar

app = typer.Typer(help="Train models that remember by themselves, by a recipe in YAML.", no_args_is_help=True)
app.command("mqar")(train_mqar.mqar)
app.command("lm")(train_lm.lm)
