"""The whole benchmark of encoding: kmem's encoder and a plain forward in turn, and how near the encoder comes to the machine's best."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from statistics import median
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.device import peak_of
from kmem.bench.encode.breakdown import time_shares
from kmem.bench.encode.config import EncodeConfig
from kmem.bench.encode.naive import attend_plainly
from kmem.bench.encode.work import executed_flops, matmul_rates, matmul_sizes, wait
from kmem.bench.pairs import in_turn, paired, timed
from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder, EncoderConfig
from kmem.encoder.fingerprint import display_name
from kmem.encoder.profiles import load_profile
from kmem.errors import MeasurementError, SourceNotFoundError
from kmem.kbuild.chunker import Chunker
from kmem.kbuild.sources import documents
from kmem.progress import Progress, silent

ASKED = {"over_naive": 1.8, "share_of_peak": 0.3}
"""What issue 5 asks at least."""
GIGA = 1e9
PLACES = 4


def measure_encode(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: EncodeConfig, *, progress: Progress = silent
) -> dict[str, Any]:
    """`over_naive`: the encoder's chunks/s over the plain forward's, the references in the order of the corpus; `over_naive_sorted`: the
    same where the plain forward is given them in the encoder's own order, which is by length; `work_over_naive`: the first of the two in
    executed FLOPs instead of time, so how much of it is left undone, not done faster, and `left_out` what: layers after the last one
    with a budget, and padding. `share_of_peak`: executed FLOP/s of matrix
    products over the most that any product reached; `time_shares` what stands between it and 1, `linear_share_of_peak` how near the
    linear layers alone come. Medians of ratios within a round. `device_bytes`: the most memory that encoding takes on a GPU; None on a CPU.

    Raises SourceNotFoundError for a corpus without text, and what loading the profile raises.
    """
    anatomy = examine(model)
    profile = load_profile(config.profile, layers=anatomy.layers, heads=anatomy.heads)
    encoder = Encoder(model, tokenizer, profile, EncoderConfig(batch_size=config.batch_size))
    references = first_references(tokenizer, config)
    ids = list(range(len(references)))
    plain = [[*encoder.bracket.prefix, *tokens] for tokens in references]
    device, shape = model.device, model.config.get_text_config()
    widest = config.batch_size * max(map(len, plain))
    sizes = matmul_sizes(widest, shape.hidden_size, shape.intermediate_size, device=device)
    peaks: dict[str, float] = {}

    def encode() -> None:
        encoder.encode_tokens(references, ids)
        wait(device)

    def attend(rows: Sequence[Sequence[int]]) -> None:
        found = attend_plainly(model, rows, config.batch_size)
        wait(device)
        if found != anatomy.layers * -(-len(rows) // config.batch_size):
            raise MeasurementError(f"The plain forward gave {found} attention matrices, not one a layer and batch; use another model.")

    def measure_peak() -> None:
        for name, rate in matmul_rates(sizes, dtype=model.dtype, device=device).items():
            peaks[name] = max(rate, peaks.get(name, 0.0))

    sides = {
        "kmem": partial(timed, encode),
        "naive": partial(timed, partial(attend, plain)),
        "naive_sorted": partial(timed, partial(attend, sorted(plain, key=len))),
        "peak": partial(timed, measure_peak),
    }
    progress("encode", 0, config.rounds)
    with peak_of(device) as peak:
        flops = executed_flops(encode)  # the first pass warms the encoder up, too
    naive_flops = executed_flops(partial(attend, plain))
    seconds = in_turn(sides, config.rounds, lambda done: progress("encode", done, config.rounds))
    shares = time_shares(encode, device)
    del seconds["peak"]
    best = max(peaks, key=lambda name: peaks[name])
    used = median(seconds["kmem"])
    return {
        "over_naive": paired(seconds["naive"], seconds["kmem"]),
        "over_naive_sorted": paired(seconds["naive_sorted"], seconds["kmem"]),
        "work_over_naive": round(naive_flops.total / flops.total, PLACES),
        "left_out": {
            "layers": anatomy.layers,
            "layers_run": profile.last_layer + 1,
            "tokens_naive": padded_tokens(plain, config.batch_size),
            "tokens_fed": padded_tokens(sorted(plain, key=len), config.batch_size),
        },
        "share_of_peak": round(flops.total / used / peaks[best], PLACES),
        "asked": ASKED,
        "time_shares": {part: round(share, PLACES) for part, share in shares.items()},
        "linear_share_of_peak": round(flops.linear / (used * shares["linear"]) / peaks[best], PLACES),
        "chunks_per_s": {name: round(len(references) / median(own), PLACES) for name, own in seconds.items()},
        "seconds": {name: [round(value, PLACES) for value in own] for name, own in seconds.items()},
        "flops_per_chunk": flops.total // len(references),
        "peak_gflop_per_s": {name: round(rate / GIGA, 1) for name, rate in peaks.items()},
        "peak_size": best,
        "device_bytes": peak.bytes,
        "settings": settings(model, config, references, profile.name),
    }


def settings(model: PreTrainedModel, config: EncodeConfig, references: Sequence[Sequence[int]], profile: str) -> Mapping[str, Any]:
    """What was encoded, and how."""
    return {
        "model": display_name(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "corpus": config.corpus,
        "profile": profile,
        "chunks": len(references),
        "tokens": sum(map(len, references)),
        "batch_size": config.batch_size,
        "rounds": config.rounds,
    }


def padded_tokens(rows: Sequence[Sequence[int]], batch_size: int) -> int:
    """Tokens of the batches of these rows in this order, each padded to its longest."""
    batches = (rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
    return sum(len(batch) * max(map(len, batch)) for batch in batches)


def first_references(tokenizer: PreTrainedTokenizerBase, config: EncodeConfig) -> list[list[int]]:
    """Token ids of the corpus's first chunks, as a build gives them to the encoder. Raises SourceNotFoundError when there are none."""
    found = islice(Chunker(tokenizer).run(documents([config.corpus], Counter()), Counter()), config.chunks)
    references: list[list[int]] = [tokenizer(chunk.reference, add_special_tokens=False)["input_ids"] for chunk in found]
    if not references:
        raise SourceNotFoundError(f"{config.corpus} gave no text to encode; name another corpus.")
    return references
