"""`kmem quality NAME`: train a scorer, score texts with one. One file a command."""

import typer

from kmem.cli import quality_examples, quality_score, quality_train

app = typer.Typer(
    help="How informative is a text? Train a small scorer from labelled lines, and score texts with it.", no_args_is_help=True
)
app.command("train")(quality_train.train)
app.command("score")(quality_score.score)
app.command("examples")(quality_examples.examples)
