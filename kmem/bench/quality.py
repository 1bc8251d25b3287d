"""How much of what a text in the prompt gains do its memories gain? DESIGN §3's measurement, on passages that no calibration has seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.config import DEVELOPMENT, QualityConfig
from kmem.bench.guarded import nearest
from kmem.bench.nll import target_nlls
from kmem.bench.profiles import chosen_profiles, measured_profiles
from kmem.bench.share import shares
from kmem.bench.stored import as_stored, stored_bytes
from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder
from kmem.encoder.fingerprint import display_name
from kmem.errors import SourceNotFoundError
from kmem.kstore.index.embed import Embedder
from kmem.leak.guard import EVALUATION, LeakGuard
from kmem.memories import Memories
from kmem.progress import Progress, silent
from kmem.runtime.schedule import Ids
from kmem.training.passages import Passage, passages
from kmem.training.probes import TEXT_PREFIX, Probe, behind_texts, reference_ids
from kmem.training.probes.title import title

AMONG = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What is asked: a probe each, of the first passages of the pool; `found[i]` are the five of the pool nearest to question i.

    skipped: passages before the pool that were left out. leaks: passages that were near, but held the question itself.
    """

    probes: tuple[Probe, ...]
    pool: tuple[Passage, ...]
    found: tuple[Ids, ...]
    skipped: int
    leaks: int


def measure_quality(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: QualityConfig, *, progress: Progress = silent
) -> dict[str, Any]:
    """`nll` per target token (nats), `share_of_text_gain`, `low95` of it, and `bytes_per_memory` (float16) of each way to know; `settings`.

    Ways: nothing; text in the prompt; memories of the passage itself (dense, each profile, uniform8, random8, with `full` every selector
    in the budgets of uniform8 and of the first profile); its memory among four others; the five that a search of the pool finds, as
    memories and as texts. With `selectors` only nothing, the text, and these in both budgets.
    share = (nothing − x) / (nothing − text), of NLL summed over all targets.
    Raises SourceNotFoundError for a corpus without titles, and what loading profiles and reading the corpus raise.
    """
    chosen = chosen_profiles(model, config)
    profiles = measured_profiles(chosen, config)
    asked = ask(tokenizer, config)
    first = next(iter(chosen))
    among = f"among_five_{first.removeprefix('profile_')}"
    ways = ["nothing", "text", *profiles, *(() if config.selectors else (among, "retrieved", "retrieved_text"))]
    losses: dict[str, list[float]] = {}
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        done += more
        progress("measure", done, len(ways) * len(asked.probes))

    tick(0)
    own = [(index,) for index in range(len(asked.probes))]
    losses["nothing"] = target_nlls(model, [(probe.nothing_context, probe.target) for probe in asked.probes], tick=tick)
    losses["text"] = target_nlls(model, [(probe.text_context, probe.target) for probe in asked.probes], tick=tick)
    for name, profile in profiles.items():
        encoder = Encoder(model, tokenizer, profile)
        memories = encode(encoder, asked, range(len(asked.probes)), progress)
        losses[name] = read(model, asked, memories, own, tick)
        if name == first:
            losses[among] = read(model, asked, memories, among_five(len(asked.probes)), tick)
            needed = sorted({memory_id for ids in asked.found for memory_id in ids})
            losses["retrieved"] = read(model, asked, encode(encoder, asked, needed, progress), asked.found, tick)
    if "retrieved_text" in ways:
        beside_texts = [(with_texts(tokenizer, asked, index), probe.target) for index, probe in enumerate(asked.probes)]
        losses["retrieved_text"] = target_nlls(model, beside_texts, tick=tick)
    share, low = shares(losses)
    tokens = sum(len(probe.target) for probe in asked.probes)
    dim = examine(model).head_dim
    return {
        "settings": {
            "model": display_name(model),
            "corpus": config.corpus,
            "profiles": {name: profile.name for name, profile in chosen.items()},
            "articles": len(asked.probes),
            "pool": len(asked.pool),
            "skipped": asked.skipped,
            "leaks": asked.leaks,
        },
        "nll": {name: sum(losses[name]) / tokens for name in ways},
        "share_of_text_gain": share,
        "low95": low,
        "bytes_per_memory": {name: stored_bytes(profile, dim) for name, profile in profiles.items()},
    }


def among_five(count: int) -> list[Ids]:
    """Each of `count` memories with four others, spread over all; with fewer, with all there are."""
    stride = max(1, count // AMONG)
    return [tuple((index + other * stride) % count for other in range(min(AMONG, count))) for index in range(count)]


def ask(tokenizer: PreTrainedTokenizerBase, config: QualityConfig) -> Asked:
    """Title probes of held-out passages that have titles, and what a search of the pool finds for each question, less what leaks it.

    The first DEVELOPMENT of them are skipped, fewer where `articles` would not be left. Raises SourceNotFoundError where there are none.
    """
    known = [passage for passage in passages(config.corpus, held_out=True) if passage.title]
    if not known:
        raise SourceNotFoundError(
            f"No held-out document of {config.corpus!r} has a title, and this benchmark asks for texts by title: name another corpus."
        )
    skipped = min(DEVELOPMENT, max(0, len(known) - config.articles))
    pool = tuple(known[skipped : skipped + (config.articles if config.selectors else max(config.pool, config.articles))])
    probes = [probe for passage in pool[: config.articles] if (probe := title(tokenizer, passage)) is not None]
    references = [reference_ids(tokenizer, passage) for passage in pool]
    embedder = Embedder()
    stored = embedder.embed([tokenizer.decode(reference) for reference in references])
    queries = embedder.embed_queries([tokenizer.decode(probe.context, skip_special_tokens=True) for probe in probes])
    # The guard looks at the question alone: that a passage holds the answer is what it is retrieved for.
    guard, questions = LeakGuard(threshold=EVALUATION), [probe.nothing_context for probe in probes]
    found, leaks = nearest(queries @ stored.T, references, questions, count=AMONG, guard=guard)
    return Asked(probes=tuple(probes), pool=pool, found=tuple(found), skipped=skipped, leaks=leaks)


def encode(encoder: Encoder, asked: Asked, rows: Sequence[int], progress: Progress) -> Memories:
    """Memories of passages of the pool as a bank gives them back; their ids are their places in it."""
    references = [reference_ids(encoder.tokenizer, asked.pool[row]) for row in rows]
    progress("encode", 0, len(references))
    return as_stored(encoder.encode_tokens(references, list(rows), progress=lambda done: progress("encode", done, len(references))))


def read(model: PreTrainedModel, asked: Asked, memories: Memories, reads: Sequence[Ids], tick: Callable[[int], None]) -> list[float]:
    """Loss of each probe while it reads the memories with the ids given."""
    return target_nlls(model, [(probe.context, probe.target) for probe in asked.probes], memories=memories, reads=reads, tick=tick)


def with_texts(tokenizer: PreTrainedTokenizerBase, asked: Asked, index: int) -> list[int]:
    """The question behind the texts of the five passages found for it, the best one nearest, as `text` has it with one."""
    references = [reference_ids(tokenizer, asked.pool[row]) for row in reversed(asked.found[index])]
    return behind_texts(tokenizer, asked.probes[index], references, prefix=TEXT_PREFIX, suffix="\n")
