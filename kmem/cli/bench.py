"""`kmem bench NAME`: measure, and print or save one JSON object. One file a benchmark."""

import typer

from kmem.cli import (
    bench_bmojo,
    bench_compression,
    bench_decode,
    bench_encode,
    bench_mqar,
    bench_namm,
    bench_pipeline,
    bench_quality,
    bench_retrieval,
    bench_store,
)

app = typer.Typer(
    help="Measurements you can repeat; each prints a table, or with **--json FILE** writes one JSON object.", no_args_is_help=True
)
app.command("quality")(bench_quality.quality)
app.command("store")(bench_store.store)
app.command("compression")(bench_compression.compression)
app.command("decode")(bench_decode.decode)
app.command("encode")(bench_encode.encode)
app.command("pipeline")(bench_pipeline.pipeline)
app.command("retrieval")(bench_retrieval.retrieval)
app.command("bmojo")(bench_bmojo.bmojo)
app.command("mqar")(bench_mqar.mqar)
app.command("namm")(bench_namm.namm)
