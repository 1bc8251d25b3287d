"""`kmem generate`: answer a prompt while reading a bank."""

from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from kmem.arguments import require_text
from kmem.cli.device import known_device
from kmem.cli.render import JSON_OPTION, counted, human_seconds, output, print_json, printable, say, working
from kmem.encoder.defaults import DEVICE, DTYPE
from kmem.encoder.named import parted
from kmem.errors import ConfigError
from kmem.runtime.defaults import AnswerConfig, RetrievalMode

if TYPE_CHECKING:
    from kmem.runtime.answer import Answer

DEFAULT = AnswerConfig()
COLUMNS = {"nothing": "nothing", "memories": "memories", "text": "the text in the prompt"}


def generate(
    bank: str = typer.Argument(help="Folder or URL of the bank."),
    prompt: str = typer.Option(..., help="What to ask."),
    compare: bool = typer.Option(False, "--compare", help="Side by side: nothing, memories, the text in the prompt."),
    raw: bool = typer.Option(False, "--raw", help="Give the prompt to the model as it is, without the question template."),
    template: str = typer.Option(
        DEFAULT.template, show_default=DEFAULT.template.replace("\n", "\\n"), help="How a prompt becomes the model's input."
    ),
    model: str | None = typer.Option(None, help="Model to read with; default: the one that wrote the bank."),
    adapter: str | None = typer.Option(None, metavar="FOLDER", help="What kmem train memory wrote, for the model; default: the bank's."),
    allow_mismatch: bool = typer.Option(
        False, "--allow-mismatch", help="Read a bank that the model wrote with another adapter or none, and say what that costs."
    ),
    dtype: str = typer.Option(DTYPE, help="Precision to generate in: auto, float32, bfloat16."),
    device: str = typer.Option(DEVICE, help="cpu or cuda.", callback=known_device),
    max_new_tokens: int = typer.Option(DEFAULT.max_new_tokens, help="Tokens to generate at most."),
    top_k: int = typer.Option(DEFAULT.top_k, "--top-k", "-k", help="Memories a span reads."),
    every: int = typer.Option(DEFAULT.every, help="Tokens between two retrievals."),
    mode: RetrievalMode = typer.Option(
        DEFAULT.mode,
        help="What finds the memories of a prompt chunk: its text (paper), the chunk before (shifted), the whole prompt, for good (once).",
    ),
    as_json: bool = JSON_OPTION,
) -> None:
    """Answer a prompt with the model that wrote the bank, **reading memories as it generates**."""
    if raw and template != DEFAULT.template:
        raise ConfigError("--raw gives the prompt as it is, so --template can't be used with it: leave one out.")
    config = AnswerConfig(max_new_tokens=max_new_tokens, top_k=top_k, every=every, mode=mode, template="{prompt}" if raw else template)
    require_text(prompt, "prompt")
    from kmem.kstore.bank import open_bank

    with open_bank(bank) as opened:
        from kmem.encoder.load import load_model  # transformers, which takes seconds, once the rest is known to be right
        from kmem.runtime.answer import answer, compare_answers

        with working("loading the model", quiet=as_json):
            name = model or (opened.identity.model if adapter is None else parted(opened.identity.model)[0])
            loaded, tokenizer = load_model(name, adapter=adapter, dtype=dtype, device=device)
        if allow_mismatch:
            from kmem.bench.mismatch import readable

            say(str(readable(loaded, tokenizer, opened)))
        with working("generating", quiet=as_json):
            if compare:
                answers = compare_answers(loaded, tokenizer, prompt, bank=opened, config=config, allow_mismatch=allow_mismatch)
            else:
                answers = [
                    answer(loaded, tokenizer, prompt, knowledge="memories", bank=opened, config=config, allow_mismatch=allow_mismatch)
                ]
    if as_json:
        print_json({"prompt": prompt, "answers": [given.to_dict() for given in answers]})
    elif compare:
        print_comparison(prompt, answers)
    else:
        console = output()
        console.print(_answer(answers[0]))
        console.print(Text(cost(answers[0]), style="dim"))
        console.print(Text(_read(answers[0]), style="dim"))


def print_comparison(prompt: str, answers: "list[Answer]") -> None:
    """A column a way of knowing, with what it cost."""
    table = Table(*(COLUMNS[given.knowledge] for given in answers), title=Text(printable(prompt)), title_justify="left", show_lines=True)
    table.add_row(*(_answer(given) for given in answers))
    table.add_row(*(cost(given) for given in answers))
    console = output()
    console.print(table)
    for given in answers:
        if given.sources:
            console.print(Text(_read(given), style="dim"))


def _answer(given: "Answer") -> Text:
    return Text(printable(given.text)) if given.text else Text("(an empty answer)", style="dim")


def cost(given: "Answer") -> str:
    """What an answer took, in one phrase."""
    return (
        f"{counted(given.prompt_tokens, 'prompt token')}; first token after {human_seconds(given.first_token_s)}, "
        f"{counted(given.new_tokens, 'token')} in {human_seconds(given.seconds)}"
    )


def _read(given: "Answer") -> str:
    return f"{COLUMNS[given.knowledge]}, read: {printable(', '.join(given.sources))}"
