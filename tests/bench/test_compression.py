"""Memory³'s ledger to the byte, and what the benchmark of quantisers says of tiny memories."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kmem.bench import quality
from kmem.bench.compression import picture, stored
from kmem.bench.compression.config import CompressionConfig
from kmem.bench.compression.errors import attention_error, coded, relative_error
from kmem.bench.compression.ledger import DENSE, SPARSE, ledger
from kmem.bench.compression.measure import measure_compression, smallest_within
from kmem.bench.compression.picture import draw_quantisers
from kmem.bench.compression.stored import decode_gb_per_s
from kmem.cli.bench_compression import quantisers_table
from kmem.encoder.encode import Encoder
from kmem.errors import ConfigError
from kmem.kstore.quant import Int8, Plain, Vq, quantiser
from kmem.pipelines.config import BuildConfig
from kmem.profile import Profile
from kmem.training.passages import Passage
from kmem.training.probes import reference_ids
from kmem.training.probes.title import title
from tests.tiny import HashEmbedder, byte_tokenizer, tiny_model, uniform_budget

PNG = b"\x89PNG\r\n"
QUANTISERS = ("fp32", "fp16", "bf16", "int8", "vq")


def encoder() -> Encoder:
    """Of memories of 64 slots of 8 numbers."""
    return Encoder(tiny_model(), byte_tokenizer(), Profile(name="t", budget=uniform_budget(8)))


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole benchmark on the tiny model: three articles asked about, thirty learnt from."""
    folder = tmp_path_factory.mktemp("compression")
    lines = [{"title": f"Page {number}", "text": f"Sentence {number} of a page that is long enough. " * 5} for number in range(60)]
    (folder / "pages.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = CompressionConfig(corpus=str(folder / "pages.jsonl"), profile="uniform8", articles=3, learning=30)
    seen: list[tuple[str, int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "Embedder", HashEmbedder)
        found = measure_compression(tiny_model(), byte_tokenizer(), config, folder, progress=lambda *state: seen.append(state))
    for stage in ("encode", "encode to learn", "train", "measure"):
        states = [state for state in seen if state[0] == stage]
        assert (states[0][1], states[-1][1]) == (0, states[-1][2])
    return found


def test_the_ledger_is_the_papers() -> None:
    found = ledger()
    assert (found["references"], found["dense_bytes"]) == (112_000_000, 112_000_000 * 44 * 40 * 128 * 2 * 80 * 2)
    assert found["sparse_bytes"] == 112_000_000 * 22 * 8 * 8 * 2 * 80 * 2 == 112_000_000 * 450_560
    assert found["vq_bytes"] == 112_000_000 * 22 * 8 * 8 * 2 * 14
    assert (found["sparse_ratio"], found["vq_ratio"]) == (2 * 5 * 16, 80 / 7)
    assert found["total_ratio"] == pytest.approx(160 * 80 / 7)
    assert f"{found['dense_bytes'] / 2**50:.2f} PB" == "7.17 PB"
    assert f"{found['sparse_bytes'] / 2**40:.1f} TB" == "45.9 TB"
    assert f"{found['vq_bytes'] / 2**40:.2f} TB" == "4.02 TB"
    assert (f"{found['sparse_ratio']:.0f}×", f"{found['vq_ratio']:.1f}×", f"{found['total_ratio']:.3g}") == ("160×", "11.4×", "1.83e+03")
    for size in ("dense", "sparse", "vq"):
        assert found[f"{size}_over_paper"] == pytest.approx(1, abs=2e-3)


def test_the_ledger_counts_what_it_is_given() -> None:
    """Another budget, another number of references, another head dimension."""
    found, most = ledger(), 4 * SPARSE.slots
    double = ledger(sparse=replace(SPARSE, budget=tuple(tuple(2 * tokens for tokens in row) for row in SPARSE.budget)))
    assert double["sparse_bytes"] == 2 * found["sparse_bytes"]
    assert double["vq_bytes"] == 2 * found["vq_bytes"]
    assert double["dense_bytes"] == found["dense_bytes"]
    assert ledger(dense=SPARSE)["sparse_ratio"] == 1
    assert ledger(10)["vq_bytes"] == 10 * SPARSE.slots * 2 * 14
    assert ledger(1, head_dim=64)["vq_bytes"] == SPARSE.slots * 2 * 11
    assert DENSE.slots > most


def test_the_ledger_is_sized_as_a_bank_is(monkeypatch: pytest.MonkeyPatch, figures: dict[str, Any]) -> None:
    """By the record's shape, which a bank is written with: a byte more there is a byte more here."""
    for name, width in (("fp32", 32), ("fp16", 16), ("bf16", 16), ("int8", 10)):
        assert figures["quantisers"][name]["record_bytes"] == 2 * 64 * width  # 64 slots of 8 numbers
    monkeypatch.setattr(Plain, "record_shape", lambda self, slots, head_dim: (2, slots, head_dim + 1))
    monkeypatch.setattr(Vq, "record_shape", lambda self, slots, head_dim: (2, slots, 15))
    found = ledger(1)
    assert (found["dense_bytes"], found["sparse_bytes"]) == (DENSE.slots * 2 * 81 * 2, SPARSE.slots * 2 * 81 * 2)
    assert found["vq_bytes"] == SPARSE.slots * 2 * 15


def test_every_figure_is_there(figures: dict[str, Any]) -> None:
    assert tuple(sorted(figures["quantisers"])) == tuple(sorted(QUANTISERS))
    assert figures["ledger"] == ledger()
    assert {"dense_bytes", "sparse_bytes", "vq_bytes", "sparse_ratio", "vq_ratio", "total_ratio"} <= set(figures["ledger"])
    assert figures["default"] == BuildConfig().quantiser
    assert figures["vq_decode_gb_per_s"] == figures["quantisers"]["vq"]["decode_gb_per_s"] > 0
    assert figures["settings"]["articles"] == 3
    assert figures["settings"]["model"] == "LlamaForCausalLM"
    for row in figures["quantisers"].values():
        assert row["payload_bytes"] == 3 * row["record_bytes"]
        assert row["stored_bytes"] > row["payload_bytes"]
        assert row["overhead"] > 1
    json.dumps(figures, allow_nan=False)


def test_fewer_bytes_are_larger_errors(figures: dict[str, Any]) -> None:
    rows = figures["quantisers"]
    for error in ("key_error", "value_error", "attention_error"):
        assert 0 == rows["fp32"][error] < rows["fp16"][error] < rows["bf16"][error] < rows["int8"][error] < rows["vq"][error] < 1
    assert rows["int8"]["key_error"] < 0.01
    assert [rows[name]["ratio"] for name in ("fp32", "fp16", "bf16", "int8")] == [0.5, 1, 1, 1.6]


def test_plain_numbers_are_not_decoded(figures: dict[str, Any]) -> None:
    speeds = {name: row["decode_gb_per_s"] for name, row in figures["quantisers"].items()}
    assert [name for name in QUANTISERS if speeds[name] is None] == ["fp32", "fp16", "bf16"]


def test_decoding_is_counted_in_float16_and_timed_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks, threads = itertools.count(), set()
    monkeypatch.setattr(stored, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))  # any decoding takes a second

    class Watched(Int8):
        def decode(self, records: NDArray[Any]) -> Tensor:
            threads.add(torch.get_num_threads())
            return super().decode(records)

    memories = encoder().encode(["one", "another", "a third"])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    assert decode_gb_per_s(Watched(), memories) == pytest.approx(stored.DECODED * 2 * 64 * 8 * 2e-9)
    assert (threads, torch.get_num_threads()) == ({2, 1}, 2)  # two: asking whether anything is decoded at all
    torch.set_num_threads(before)


def test_errors_are_of_filled_slots_and_relative() -> None:
    passage = Passage("Page", "A page that says as little as a page can say, in words that are not long. " * 3)
    probe = title(byte_tokenizer(), passage)
    assert probe is not None
    memories = encoder().encode_tokens([probe.reference, reference_ids(byte_tokenizer(), Passage("a", "b"))], [0, 1])
    assert not memories.filled[1].all()
    near = replace(memories, kv=memories.kv * torch.tensor([1.01, 0.9])[None, :, None, None])
    near.kv[~memories.filled.unsqueeze(1).expand(-1, 2, -1)] = 1e6
    assert relative_error(memories, near, 0) == pytest.approx(0.01, rel=1e-4)
    assert relative_error(memories, near, 1) == pytest.approx(0.1, rel=1e-4)
    one = memories.take([0])
    assert attention_error(tiny_model(), [probe], one, one) == 0
    assert coded(one, quantiser("fp32")).kv.equal(one.kv)
    errors = [attention_error(tiny_model(), [probe], one, coded(one, quantiser(name))) for name in ("fp16", "int8")]
    assert 0 < errors[0] < errors[1] < 0.05


def row(record_bytes: int, share: float | None, low: float | None = None, **others: float) -> dict[str, Any]:
    errors = {"key_error": 0.01, "value_error": 0.02, "attention_error": 0.03, "ratio": 200 / record_bytes, "overhead": 1.0}
    return {"record_bytes": record_bytes, "share_of_text_gain": share, "low95": low, "decode_gb_per_s": None, **errors, **others}


def test_the_smallest_that_loses_little_is_chosen() -> None:
    rows = {"fp32": row(400, 0.95), "fp16": row(200, 0.95), "bf16": row(200, 0.93), "int8": row(103, 0.921), "vq": row(17, 0.919)}
    assert smallest_within(rows, 0.03) == "int8"
    assert smallest_within(rows, 0.04) == "vq"
    assert smallest_within(rows, 0.02) == "fp16"  # of two alike in size, the one it is compared with
    assert smallest_within({**rows, "int8": row(103, 0.99)}, 0) == "int8"
    assert smallest_within({"fp16": row(200, None), "vq": row(17, None)}, 0.03) is None


@pytest.mark.parametrize("share", [0.95, None])
def test_picture_and_table(tmp_path: Path, share: float | None) -> None:
    """With shares, and of a text that gains nothing."""
    rows = {"fp32": row(400, share, key_error=0.0, value_error=0.0, attention_error=0.0), "fp16": row(200, share, share)}
    rows |= {"bf16": row(200, share), "int8": row(103, share and 0.9, share and 0.85)}
    settings = {"articles": 3, "corpus": "corpus:foldoc", "profile": "p", "within": 0.03}
    drawn = {"quantisers": rows, "settings": settings, "smallest_within": smallest_within(rows, 0.03)}
    draw_quantisers(drawn, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(PNG)
    table = quantisers_table(drawn)
    assert [len(list(column.cells)) for column in table.columns] == [4] * 10
    assert list(table.columns[7].cells)[-1] == ("–" if share is None else "90.0%")
    with pytest.raises(ConfigError, match=r"c\.jpg must end in \.png"):
        draw_quantisers(drawn, tmp_path / "c.jpg")


def test_labels_do_not_cover_each_other(figures: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bf16 and fp16 have the same bytes and all but the same share: one label for both."""
    shares = {"fp32": 0.9441, "fp16": 0.9442, "bf16": 0.9443, "int8": 0.94, "vq": 0.66}
    rows = {name: {**figures["quantisers"][name], "share_of_text_gain": share, "low95": share - 0.01} for name, share in shares.items()}
    kept: list[Any] = []
    monkeypatch.setattr(picture, "save", lambda figure, path: kept.append(figure))
    draw_quantisers({**figures, "quantisers": rows}, tmp_path / "c.png")
    figure = kept[0]
    figure.canvas.draw()
    boxes = [text.get_window_extent() for axes in figure.axes for text in axes.texts if text.get_text()]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "fp16, bf16\n94.4%" in texts
    assert not [(one, two) for one, two in itertools.combinations(boxes, 2) if one.overlaps(two)]


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="articles must be at least 1, not 0"):
        CompressionConfig(articles=0)
    with pytest.raises(ConfigError, match="corpus is the empty string"):
        CompressionConfig(corpus="")
    with pytest.raises(ConfigError, match="within must lie between 0 and 1, not 3"):
        CompressionConfig(within=3)
