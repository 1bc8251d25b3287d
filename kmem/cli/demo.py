"""`kmem demo`: a real bank from Wikipedia's Vital Articles and three questions, everything measured live."""

from pathlib import Path

import typer

from kmem.cli.build import kept_shards, summary
from kmem.cli.generate import print_comparison
from kmem.cli.render import output, progress_bars, working
from kmem.cli.stopped import saying_how_to_go_on
from kmem.pipelines.config import BuildConfig

CORPUS = "vital-articles"
QUESTIONS = ("What is the Alhambra?", "What is the Apu Trilogy?", "What is ukiyo-e?")
NEXT = """Try next:
  kmem query {bank} "Japanese theatre with elaborate costumes"
  kmem show {bank} {memory}
  kmem generate {bank} --prompt "What is a sonata?" --compare
  kmem build YOUR_FOLDER --out my-bank --dry-run"""


def demo(
    out: Path = typer.Option(Path("demo-bank"), help="Folder of the demo bank; a finished or stopped one is gone on with."),
    limit: int = typer.Option(1000, min=1, help="Chunks to remember; the questions are about the first thousand."),
    max_new_tokens: int = typer.Option(48, min=1, help="Tokens of each answer."),
) -> None:
    """Build a bank of 1,000 chunks of **Wikipedia's Vital Articles** and answer three questions with and without it."""
    from kmem.encoder.load import load_model
    from kmem.kbuild.corpora import CORPORA
    from kmem.kstore.bank import open_bank
    from kmem.pipelines.build import build
    from kmem.runtime.answer import compare_answers
    from kmem.runtime.defaults import AnswerConfig

    console = output()
    corpus = CORPORA[CORPUS]
    console.print(f"{corpus.description} {corpus.licence}. Model: SmolLM2-135M-Instruct, not trained to read memories.")
    with saying_how_to_go_on(lambda: kept_shards(str(out))), progress_bars(quiet=False) as progress:
        report = build([f"corpus:{CORPUS}"], out=out, config=BuildConfig(limit=limit), resume=True, progress=progress)
    console.print(summary(report, "Built"))
    with open_bank(out) as bank:
        with working("loading the model", quiet=False):
            model, tokenizer = load_model(bank.identity.model)
        for question in QUESTIONS:
            answers = compare_answers(model, tokenizer, question, bank=bank, config=AnswerConfig(max_new_tokens=max_new_tokens))
            print_comparison(question, answers)
        first = bank.search(QUESTIONS[0], k=1)[0]
    console.print(NEXT.format(bank=out, memory=first.id), markup=False, soft_wrap=True)
