"""`kmem bench quality`: what a text in the prompt gains, and how much of it memories gain."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from kmem.bench.config import AdapterConfig, QualityConfig
from kmem.cli.bench_json import JSON_FILE, STANDARD_OUTPUT, require_outputs, write_json
from kmem.cli.render import human_bytes, output, progress_bars
from kmem.encoder.defaults import SMOLLM2
from kmem.errors import ConfigError

DEFAULT = QualityConfig()


def quality(
    model: str = typer.Option(SMOLLM2, help="smollm2, gemma3-270m, a model folder, or a hub name."),
    adapter: str | None = typer.Option(None, metavar="FOLDER", help="What kmem train memory wrote: measure the model with it, too."),
    corpus: str = typer.Option(DEFAULT.corpus, help="Whose held-out passages to ask about: a file, folder, glob or corpus:NAME."),
    articles: int = typer.Option(DEFAULT.articles, help="Passages to ask about."),
    profile: list[str] | None = typer.Option(
        None, help="Profiles to measure, by default those shipped for the model; the first is also read among five and retrieved."
    ),
    pool: int = typer.Option(DEFAULT.pool, help="Passages that retrieval chooses from."),
    selector: list[str] | None = typer.Option(None, help="Only this selector, with 8 tokens a head and in the first profile's budget."),
    full: bool = typer.Option(False, "--full", help="Every selector at equal bytes, too."),
    questions: str | None = typer.Option(None, metavar="FILE", help="JSON lines of question, answer and context: exact match and F1, too."),
    picture: str | None = typer.Option(None, metavar="PNG", help="Draw bytes against share."),
    json_file: str | None = JSON_FILE,
) -> None:
    """How much of what the text in the prompt gains do memories gain, on passages that no calibration has seen?"""
    from kmem.bench.profiles import chosen_profiles, chosen_selectors
    from kmem.bench.quality import measure_quality
    from kmem.bench.questions import load_questions, measure_questions
    from kmem.encoder.load import load_model
    from kmem.encoder.profiles import dense_profile

    require_outputs(json_file, picture)
    if adapter is not None:
        if full or picture:
            raise ConfigError("--adapter compares a model with itself untrained: leave --full and --picture out.")
        found = AdapterConfig(adapter=adapter, corpus=corpus, articles=articles, profiles=tuple(profile) if profile else None)
        _adapter(model, found, questions, json_file)
        return
    asked = [] if questions is None else load_questions(questions)
    profiles, selectors = tuple(profile) if profile else None, tuple(selector or ())
    config = QualityConfig(corpus=corpus, articles=articles, profiles=profiles, pool=pool, selectors=selectors, full=full)
    chosen_selectors(config)
    loaded, tokenizer = load_model(model)
    with progress_bars(quiet=json_file == STANDARD_OUTPUT) as progress:
        figures = measure_quality(loaded, tokenizer, config, progress=progress)
        if asked:
            chosen = chosen_profiles(loaded, config)
            first = next(iter(chosen.values()))
            chosen["dense"] = dense_profile(first.layers, first.heads, like=first)
            figures["questions"] = measure_questions(loaded, tokenizer, asked, chosen, progress=progress)
    told = write_json("quality", figures, json_file)
    if picture is not None:
        from kmem.bench.picture import draw_shares

        draw_shares(figures, Path(picture))
    if told:
        return
    used = figures["settings"]
    title = f"{used['articles']} passages of {corpus} ({used['skipped']} skipped), {used['pool']} to retrieve from, {model}"
    output().print(shares_table(figures, title=title))
    if asked:
        output().print(shares_table(figures["questions"], title=f"{len(asked)} questions of {questions}, {model}"))


def _adapter(model: str, config: AdapterConfig, questions: str | None, json_file: str | None) -> None:
    """Measure a trained model beside the untrained one."""
    from kmem.bench.adapted import measure_adapter
    from kmem.bench.questions import load_questions

    asked = [] if questions is None else load_questions(questions)
    with progress_bars(quiet=json_file == STANDARD_OUTPUT) as progress:
        figures = measure_adapter(model, config, questions=asked, progress=progress)
    if write_json("quality", figures, json_file):
        return
    used, base = figures["settings"], figures["base"]
    title = f"{used['articles']} passages of {config.corpus} ({used['skipped']} skipped), {used['model']}"
    output().print(shares_table(figures, title=title))
    said = f"without memories, on {base['texts']} held-out texts of {base['corpus']}: perplexity {base['untrained']:.2f}"
    for name, answered in figures.get("questions", {}).items():
        output().print(shares_table(answered, title=f"{len(asked)} questions of {questions}, {name}"))
    output().print(f"{said} untrained, {base['adapter']:.2f} with the adapter ({base['adapter_over_untrained']:.3f} times)")


def shares_table(figures: dict[str, Any], *, title: str) -> Table:
    """A row a way of knowing."""
    extra = [name for name in ("exact_match", "f1") if name in figures]
    sizes = figures.get("bytes_per_memory", {})
    table = Table("knows from", "NLL a token", "share of the text's gain", "at least (95%)", *extra, "bytes a memory", title=title)
    for name, nll in figures["nll"].items():
        size = sizes.get(name)
        table.add_row(
            name,
            f"{nll:.3f}",
            _percent(figures["share_of_text_gain"], name),
            _percent(figures["low95"], name),
            *(f"{figures[key][name]:.0%}" for key in extra),
            "" if size is None else human_bytes(size),
        )
    return table


def _percent(shares: Mapping[str, float | None], name: str) -> str:
    """Empty for what has none by definition, a dash for one that can't be told, as where the text gains nothing."""
    share = shares.get(name)
    return "" if name not in shares else "–" if share is None else f"{share:.0%}"
