"""`kmem train NAME`: train a model by a recipe. One file a command."""

import typer

from kmem.cli import train_lm, train_memory, train_mqar

app = typer.Typer(help="Train models to read memories, or to remember by themselves, by a recipe in YAML.", no_args_is_help=True)
app.command("memory")(train_memory.memory)
app.command("mqar")(train_mqar.mqar)
app.command("lm")(train_lm.lm)
