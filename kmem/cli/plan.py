"""`kmem plan`: what memories would cost, before anything is built."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from kmem.arguments import require_count
from kmem.cli.bench_json import require_picture
from kmem.cli.device import known_device
from kmem.cli.render import JSON_OPTION, counted, human_bytes, human_seconds, output, print_json, working
from kmem.encoder.defaults import AUTO, DEVICE, GEMMA3, SMOLLM2
from kmem.encoder.known import require_known
from kmem.encoder.named import parted
from kmem.encoder.presets import PREFIX, PRESETS
from kmem.errors import ConfigError
from kmem.plan.choice import HOMES, choice
from kmem.plan.hardware import HARDWARE, TERA, Hardware, hardware
from kmem.plan.lengths import Lengths
from kmem.plan.picture import draw_choice
from kmem.plan.plan import HOUR_S, PlanConfig
from kmem.plan.plan import plan as make_plan
from kmem.plan.shape import Shape, preset_shape
from kmem.plan.storage import tiers
from kmem.plan.texts import text_cost

DEFAULT, LENGTHS = PlanConfig(), Lengths()
PRESET, MACHINE = "memory3-2b", "a100"
USES = ",".join(f"{each:g}" for each in DEFAULT.uses)
SHAPE = "Shape"
MACHINERY = "Machine"
WHOLE_FROM = 1000


def plan(
    preset: str | None = typer.Option(None, help=f"A shape without weights: {', '.join(PRESETS)}; {PRESET} unless --model is given."),
    model: str | None = typer.Option(None, help="smollm2, gemma3-270m, a model folder, or a hub name: its configuration alone is read."),
    layers: int | None = typer.Option(None, rich_help_panel=SHAPE, help="L. This and the next six change that field of the shape."),
    width: int | None = typer.Option(None, rich_help_panel=SHAPE, help="d, numbers of a hidden state."),
    query_heads: int | None = typer.Option(None, rich_help_panel=SHAPE, help="Query heads of a layer."),
    heads: int | None = typer.Option(None, rich_help_panel=SHAPE, help="Key-value heads of a layer."),
    head_dim: int | None = typer.Option(None, rich_help_panel=SHAPE, help="Numbers of a key."),
    mlp_width: int | None = typer.Option(None, rich_help_panel=SHAPE, help="W of a gated MLP."),
    vocabulary: int | None = typer.Option(None, rich_help_panel=SHAPE, help="Rows of the output embedding."),
    profile: str = typer.Option("memory3", help="Budgets: memory3 is the paper's 8 tokens in the first half; else as kmem build has it."),
    references: int | None = typer.Option(None, help=f"References of the corpus; {DEFAULT.references:,}, the paper's, unless given."),
    tokens: int | None = typer.Option(None, help=f"Tokens of the corpus instead, {LENGTHS.reference} a reference."),
    uses: str = typer.Option(USES, help="How often a reference is used: where does it belong? Numbers, by commas."),
    quantiser: str = typer.Option(DEFAULT.quantiser, help="How the bank stores numbers."),
    embedding_dim: int = typer.Option(DEFAULT.embedding_dim, help="Numbers of a vector of the search index; MiniLM's, bge-m3 has 1024."),
    index: str = typer.Option(DEFAULT.index, help="Search index: auto (by the number of references), or as kmem build has it."),
    top_k: int = typer.Option(LENGTHS.top_k, "--top-k", "-k", help="Memories a chunk reads."),
    every: int = typer.Option(LENGTHS.chunk, help="Tokens of a chunk."),
    prompt_tokens: int = typer.Option(LENGTHS.prompt, help="Tokens of the prompt that the read overhead is of."),
    new_tokens: int = typer.Option(LENGTHS.new, help="Tokens generated after it."),
    machine: str | None = typer.Option(
        None, "--hardware", rich_help_panel=MACHINERY, help=f"{', '.join(HARDWARE)}; {MACHINE} unless given."
    ),
    flops: float | None = typer.Option(None, rich_help_panel=MACHINERY, help="FLOP/s of the fastest matrix product, as in 312e12."),
    utilisation: float | None = typer.Option(None, rich_help_panel=MACHINERY, help="The share of it that encoding reaches."),
    disk_gb_per_s: float | None = typer.Option(None, rich_help_panel=MACHINERY, help="Reading memories at random, 10⁹ bytes a second."),
    ram_gb: float | None = typer.Option(None, rich_help_panel=MACHINERY, help="RAM, 10⁹ bytes."),
    measure: bool = typer.Option(False, "--measure", rich_help_panel=MACHINERY, help="Measure this machine instead (half a minute)."),
    folder: str = typer.Option(".", rich_help_panel=MACHINERY, help="Whose disk --measure reads; 128 MiB are written and removed."),
    dtype: str = typer.Option(
        AUTO, rich_help_panel=MACHINERY, help="What --measure multiplies: float32, bfloat16 or auto, as kmem build has it."
    ),
    device: str = typer.Option(
        DEVICE, rich_help_panel=MACHINERY, help="Where: cpu, or cuda where PyTorch finds a GPU.", callback=known_device
    ),
    pipeline: str | None = typer.Option(
        None, metavar="FILE", help="Of kmem bench pipeline --json: what reading, cleaning and cutting the corpus would take."
    ),
    picture: str | None = typer.Option(None, metavar="PNG", help="Draw cost against uses."),
    as_json: bool = JSON_OPTION,
) -> None:
    """What would memories cost, and what belongs in them? Memory³'s cost model for a model, a corpus and a machine, without building."""
    require_picture(picture)
    texts = None if pipeline is None else text_cost(pipeline)
    changed = {"layers": layers, "width": width, "query_heads": query_heads, "heads": heads}
    shape = _shape(preset, model, {**changed, "head_dim": head_dim, "mlp_width": mlp_width, "vocabulary": vocabulary})
    lengths = Lengths(chunk=every, top_k=top_k, prompt=prompt_tokens, new=new_tokens)
    config = PlanConfig(
        references=_references(references, tokens, lengths), uses=_uses(uses), quantiser=quantiser, embedding_dim=embedding_dim, index=index
    )
    given = {"flops": flops, "utilisation": utilisation, "disk_gb_per_s": disk_gb_per_s, "ram_gb": ram_gb}
    if measure and machine is not None:
        raise ConfigError(f"--measure is of this machine and --hardware {machine} of another; leave one of them out.")
    used = _changed(hardware(machine or MACHINE), given)
    from kmem.encoder.profiles import load_profile

    budget = load_profile(profile, layers=shape.layers, heads=shape.heads)
    if measure:
        from kmem.plan.measure import measured

        record = tiers(config.references, shape, budget, lengths, quantiser).record_bytes
        with working("Measuring", quiet=as_json):
            used = _changed(measured(shape, lengths, record, folder, dtype=dtype, device=device), given)
    figures = make_plan(shape, budget, lengths, used, config, texts)
    if picture is not None:
        draw_choice(choice(shape, budget, lengths), Path(picture))
    if as_json:
        print_json(figures)
        return
    output().print(subject(figures), markup=False)
    for table in (costs_table(figures), uses_table(figures), bytes_table(figures)):
        output().print(table)


def _shape(preset: str | None, model: str | None, changed: dict[str, int | None]) -> Shape:
    if preset is not None and model is not None:
        raise ConfigError(f"--preset {preset} and --model {model} are two shapes; leave one of them out.")
    if model is not None and not model.startswith(PREFIX):
        if parted(model)[0] not in (SMOLLM2, GEMMA3):
            require_known(model)  # before torch is imported, which takes seconds
        from kmem.plan.model import model_shape

        shape = model_shape(model)
    else:
        shape = preset_shape((model or preset or PRESET).removeprefix(PREFIX))
    return replace(shape, **{name: value for name, value in changed.items() if value is not None})


def _references(references: int | None, tokens: int | None, lengths: Lengths) -> int:
    if tokens is None:
        return DEFAULT.references if references is None else references
    if references is not None:
        raise ConfigError(f"--references {references} and --tokens {tokens} are two sizes; leave one of them out.")
    require_count(tokens, "tokens")
    return -(-tokens // lengths.reference)


def _uses(uses: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, uses.split(",")))
    except ValueError:
        raise ConfigError(f"--uses must be numbers separated by commas, as in 1,100, not {uses!r}.") from None


def _changed(machine: Hardware, given: dict[str, float | None]) -> Hardware:
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return replace(machine, name=f"{machine.name}, changed", **changed) if changed else machine


def costs_table(figures: dict[str, Any]) -> Table:
    """A row a place: operations and hours of writing and reading a reference there, and the uses for which it is cheapest."""
    write, read, build = figures["write_tflop"], figures["read_tflop"], figures["build"]
    table = Table("knowledge in", "write, TFLOP", "each read, TFLOP", "writing all", title="a reference of 128 tokens")
    table.add_row("text", "0", _figure(read["text"]), "0")
    table.add_row("memories", _figure(write["memory"]), _figure(read["memory"]), human_seconds(build["memory_h"] * HOUR_S))
    table.add_row("parameters", _figure(write["parameters"]), "0", human_seconds(build["parameters_h"] * HOUR_S))
    return table


def uses_table(figures: dict[str, Any]) -> Table:
    """A row a number of uses: what a reference costs in each place, and where it belongs."""
    low, high = (figures["break_even"][end] for end in ("low", "high"))
    between = f"cheapest from {_figure(low)} to {_figure(high)} uses" if low < high else "never cheapest"
    table = Table("uses", "text, TFLOP", "memory", "parameters", "belongs in", title=f"a memory is {between}")
    for row in figures["uses"]:
        table.add_row(f"{row['uses']:,g}", *(_figure(row[home]) for home in HOMES), row["cheapest"])
    return table


def bytes_table(figures: dict[str, Any]) -> Table:
    """Where the bytes are, and what waits for them."""
    ledger, tiers, index, loading = (figures[part] for part in ("ledger", "tiers", "index", "loading"))
    table = Table("what", "figure", "", title=f"read overhead {figures['read_overhead']:.3%} of the operations")
    table.add_row("bank, every token, layer and query head", human_bytes(ledger["dense_bytes"]), "bf16")
    table.add_row("bank, what the profile keeps", human_bytes(ledger["sparse_bytes"]), f"bf16, {ledger['sparse_ratio']:,.0f}× smaller")
    table.add_row("the same, quantised as the paper's", human_bytes(ledger["vq_bytes"]), f"vq, {ledger['total_ratio']:,.0f}× smaller")
    table.add_row("the same, as this bank stores it", human_bytes(tiers["disk_bytes"]), f"{tiers['quantiser']}, disk tier")
    table.add_row("a memory", human_bytes(tiers["record_bytes"]), tiers["quantiser"])
    table.add_row(
        "memories of one text, RAM tier", human_bytes(tiers["ram_bytes"]), f"{tiers['resident_share']:.2%} of the bank fits into RAM"
    )
    table.add_row("its prompt's, device tier", human_bytes(tiers["device_bytes"]), "bf16")
    later = f"; {index['waits_for']} once there are rows enough" if index["waits_for"] else ""
    table.add_row("search index, in RAM", human_bytes(index["ram_bytes"]), f"{index['factory']}, {index['dim']} numbers a vector{later}")
    versus = "loading wins" if loading["wins"] else "loading loses"
    table.add_row(
        "loading a memory", _milliseconds(loading["load_s"]), f"{versus}: encoding takes {_figure(loading['encode_over_load'])}× as long"
    )
    table.add_row("encoding it anew", _milliseconds(loading["encode_s"]), "")
    table.add_row("reading its text", _milliseconds(loading["text_s"]), "")
    build = figures["build"]
    files = f"at most, and {human_bytes(build['dedup_file_bytes'])} of temporary files, in one process of the build"
    table.add_row("looking for copies among all texts", human_bytes(build["dedup_ram_bytes"]), files)
    if texts := figures.get("texts"):
        low, high = (human_seconds(texts[name] * HOUR_S) for name in ("core_h", "grown_core_h"))
        measured = f"one core; measured up to {texts['measured_chunks']:,} chunks, where a chunk took {texts['ms_per_chunk']:.3g} ms"
        table.add_row("reading, cleaning, cutting all texts", low if low == high else f"{low} to {high}", measured)
    return table


def subject(figures: dict[str, Any]) -> str:
    """What is planned for: model, corpus, machine."""
    shape, ledger, used = figures["shape"], figures["ledger"], figures["hardware"]
    model = f"{shape['layers']} layers of {shape['width']}, {figures['profile']}, {counted(ledger['references'], 'reference')}"
    cold = {True: ", cold", False: ", warm"}.get(used["facts"].get("cold"), "")
    rates = f"{used['flops'] / TERA:.3g} TFLOP/s, {used['utilisation']:.0%} of it used, disk {used['disk_gb_per_s']:.3g} GB/s{cold}"
    return f"{model}; {used['name']}: {rates}"


def _milliseconds(seconds: float) -> str:
    return f"{_figure(1000 * seconds)} ms"


def _figure(value: float) -> str:
    """Three digits, or a whole number: 0.000144, 13.4, 62,422."""
    return f"{value:.3g}" if value < WHOLE_FROM else f"{value:,.0f}"
