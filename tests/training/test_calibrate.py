"""Calibration on a tiny model: it finds what matters, goes on where it stopped, and says what each head is worth."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

import kmem
import kmem.training.calibrate as calibrate_module
from kmem.encoder.encode import Encoder
from kmem.encoder.profiles import dense_profile, uniform8_profile
from kmem.errors import BankExistsError, ConfigError, CorruptBankError, SourceNotFoundError, WrongTypeError
from kmem.profile import Profile
from kmem.training.calibrate import BRACKETS, Calibration, Calibrator
from kmem.training.checkpoint import Checkpoint
from kmem.training.config import CalibrateConfig
from kmem.training.gates import gates_of
from kmem.training.objective import Objective, loss_of
from kmem.training.passages import passages
from kmem.training.probes import target_nll
from kmem.training.provenance import provenance
from kmem.training.ranked import rank_memories
from kmem.training.state import State
from kmem.training.worth import worth_of_heads
from tests.tiny import byte_tokenizer, tiny_model


@pytest.fixture(scope="module", autouse=True)
def fewer() -> Iterator[None]:
    """Fewer brackets, judges and ablations, and more checkpoints, than anyone but a test has time for."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("BRACKETS", BRACKETS[:3]), ("JUDGES", 2), ("ABLATED", 2), ("STEPS_A_CHECKPOINT", 2)):
            patch.setattr(calibrate_module, name, value)
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(24):
        body = f"Thing number {number} is kept in box {number * 7}, near Lake {'ABCDEFGH'[number % 8]}anta, and weighs {number} kilos. " * 3
        (folder / f"{number}.txt").write_text(body)
    return str(folder)


def config(corpus: str, **options: object) -> CalibrateConfig:
    return CalibrateConfig(**{"corpus": corpus, "slots": (64,), "passages": 8, "steps": 12, "batch_size": 4, **options})  # type: ignore[arg-type]


def model() -> PreTrainedModel:
    return tiny_model()


def test_the_searched_budget_beats_the_uniform_one_on_what_it_learnt_from(corpus: str) -> None:
    calibrator = Calibrator(model(), byte_tokenizer(), config(corpus, steps=30))
    found = calibrator.run()
    (profile,) = found.profiles
    assert profile.slots == 64
    assert (profile.suffix, profile.align) in calibrate_module.BRACKETS
    assert len(calibrator.state.bracket_losses["64"]) == len(calibrate_module.BRACKETS)
    memories = calibrator._memories()
    batches = calibrator._learn.everything(8)
    with torch.inference_mode():
        searched, uniform = (
            sum(float(loss_of(calibrator.model, memories, batch, gates_of(budget))) for batch in batches)
            for budget in (profile.budget, uniform8_profile(4, 2).budget)
        )
    assert searched < uniform


def test_smaller_sizes_go_on_from_larger_ones_and_are_nearly_nested(corpus: str) -> None:
    found = Calibrator(model(), byte_tokenizer(), config(corpus, slots=(32, 128))).run()
    assert [profile.slots for profile in found.profiles] == [128, 32]
    large, small = (torch.tensor(profile.budget) for profile in found.profiles)
    assert int((small > large).sum()) <= 2


TWO_SIZES: dict[str, object] = {"slots": (32, 64), "passages": 4, "steps": 4, "batch_size": 2}


@pytest.fixture(scope="module")
def uninterrupted(corpus: str) -> Calibration:
    return Calibrator(model(), byte_tokenizer(), config(corpus, **TWO_SIZES)).run()


def stopped(settings: CalibrateConfig, checkpoint: Checkpoint, when: Callable[[State], bool]) -> None:
    """A calibration that ends with the first checkpoint of which `when` is true."""
    calibrator = Calibrator(model(), byte_tokenizer(), settings)

    def save(state: State) -> None:
        checkpoint.save(calibrator.settings, state)
        if when(state):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrator.run(save=save)


WHERE: dict[str, Callable[[State], bool]] = {
    "the first search": lambda state: state.stage == 0 and state.search is not None,
    "the choice of a bracket": lambda state: len(state.bracket_losses.get("64", ())) == 1,
    "the refinement": lambda state: state.stage == 2 and state.search is not None,
    "the search of the smaller size": lambda state: state.stage == 3 and state.search is not None,
    "the refinement of the smaller size": lambda state: state.stage == 5 and state.search is not None,
}


@pytest.mark.parametrize("where", WHERE)
def test_a_stopped_calibration_ends_as_an_uninterrupted_one(corpus: str, uninterrupted: Calibration, tmp_path: Path, where: str) -> None:
    settings, checkpoint = config(corpus, **TWO_SIZES), Checkpoint(tmp_path / "state.json")
    stopped(settings, checkpoint, WHERE[where])
    with pytest.raises(BankExistsError, match="--resume"):
        checkpoint.require(resume=False)
    calibrator = Calibrator(model(), byte_tokenizer(), settings)
    resumed = calibrator.run(checkpoint.load(calibrator))
    assert [profile.to_dict() for profile in resumed.profiles] == [profile.to_dict() for profile in uninterrupted.profiles]
    assert torch.equal(resumed.worth, uninterrupted.worth)
    checkpoint.remove()
    checkpoint.require(resume=False)
    assert checkpoint.load(calibrator) == State()


@pytest.fixture(scope="module")
def checkpoint_text(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a calibration that was stopped in its refinement."""
    checkpoint = Checkpoint(tmp_path_factory.mktemp("stopped") / "state.json")
    stopped(config(corpus, **TWO_SIZES), checkpoint, WHERE["the refinement"])
    return checkpoint.path.read_text()


def test_a_checkpoint_belongs_to_its_options_model_documents_and_version(
    corpus: str, checkpoint_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state.json").write_text(checkpoint_text)
    checkpoint, own = Checkpoint(tmp_path / "state.json"), config(corpus, **TWO_SIZES)

    def refused(words: str, calibrator: Calibrator) -> None:
        with pytest.raises(ConfigError, match=words):
            checkpoint.load(calibrator)

    refused("steps was 4, is now 30", Calibrator(model(), byte_tokenizer(), config(corpus, **{**TWO_SIZES, "steps": 30})))
    refused("weights was", Calibrator(tiny_model(seed=1), byte_tokenizer(), own))
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<new>"])
    refused("tokenizer was", Calibrator(model(), tokenizer, own))
    refused("documents was", Calibrator(model(), byte_tokenizer(), own, known=passages(corpus, held_out=False)[1:]))
    monkeypatch.setattr(calibrate_module, "__version__", "9")
    refused("kmem was 0.*, is now 9", Calibrator(model(), byte_tokenizer(), own))
    monkeypatch.undo()
    monkeypatch.setattr(calibrate_module, "BRACKETS", BRACKETS)
    refused("brackets was", Calibrator(model(), byte_tokenizer(), own))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("state",), None, "lacks 'state'"),
        (("state", "stage"), "2", "stage must be a whole number from 0 to 6, not '2'"),
        (("state", "stage"), 7, "stage must be"),
        (("state", "stage"), 6, "budgets must be an object with the sizes 64, 32"),
        (("state", "budgets"), [], "budgets must be an object"),
        (("state", "budgets"), {"sixty": []}, "budgets must be an object"),
        (("state", "budgets", "64"), [[1, 2], [3]], "budgets must be a table of 4 × 2 numbers"),
        (("state", "search"), [], "damaged"),
        (("state", "search", "budgets"), [[1.0, 2.0]], "table of 4 × 2"),
        (("state", "search", "momentum"), [["a", 0]] * 4, "momentum must be a number, not 'a'"),
        (("state", "search", "momentum"), [[float("nan"), 0]] * 4, "momentum must be a number"),
        (("state", "search", "target"), 32, "target 32 is not the size that stage 2 searches"),
        (("state", "search", "start"), 0, "start must be above 0"),
        (("state", "search", "step"), None, "lacks 'step'"),
        (("state", "losses"), 3, "losses must be a list"),
        (("state", "brackets"), {"64": 99}, "brackets must be a whole number"),
        (("settings",), 3, "damaged"),
    ],
)
def test_a_malformed_checkpoint_is_one_sentence(
    corpus: str, checkpoint_text: str, tmp_path: Path, path: tuple[str, ...], value: object, says: str
) -> None:
    data = json.loads(checkpoint_text)
    *outer, last = path
    place = data
    for key in outer:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    checkpoint = Checkpoint(tmp_path / "state.json")
    checkpoint.path.write_text(json.dumps(data))
    with pytest.raises(CorruptBankError, match=says) as caught:
        checkpoint.load(Calibrator(model(), byte_tokenizer(), config(corpus, **TWO_SIZES)))
    assert str(caught.value).endswith("; delete it and calibrate again.")


def test_budgets_that_left_their_bounds_are_brought_back_between_stages(corpus: str) -> None:
    """Those of few slots can sum to less than nothing after a step, and a total can't be lowered from there."""
    calibrator = Calibrator(model(), byte_tokenizer(), config(corpus, slots=(2, 4), passages=4, steps=6, seed=5))
    assert [profile.slots for profile in calibrator.run().profiles] == [4, 2]
    for size, rows in calibrator.state.budgets.items():
        budget = torch.tensor(rows)
        assert float(budget.sum()) == pytest.approx(int(size), abs=1e-3)
        assert float(budget.min()) >= 0


def test_every_size_chooses_its_bracket(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(model: object, memories: object, batches: object, gates: torch.Tensor) -> float:
        tried = calibrator.state.bracket_losses
        return float(len(tried["32"]) != 2) if gates.sum() == 32 else float(len(tried["64"]) != 1)

    monkeypatch.setattr(calibrate_module, "whole_loss", loss)
    seen: list[tuple[str, int]] = []
    settings = config(corpus, **{**TWO_SIZES, "steps": 2})
    calibrator = Calibrator(model(), byte_tokenizer(), settings, progress=lambda stage, done, total: seen.append((stage, done)))
    large, small = calibrator.run().profiles
    assert [(profile.suffix, profile.align) for profile in (large, small)] == list(calibrate_module.BRACKETS[1:3])
    first = dict(reversed(seen))
    assert all(first[stage] == 0 for stage in ("search 64", "bracket 64", "search 32", "bracket 32", "encode", "ablate"))


def test_from_python_with_texts_and_with_a_source(corpus: str) -> None:
    own, tokenizer = tiny_model(), byte_tokenizer()
    own.get_input_embeddings().requires_grad_(False)
    before = [parameter.requires_grad for parameter in own.parameters()]
    texts = [("", path.read_text()) for path in Path(corpus).iterdir()]
    options = CalibrateConfig(passages=4, steps=4, batch_size=2)
    profile = kmem.calibrate(own, tokenizer, corpus, 64, config=options)
    again = kmem.calibrate(own, tokenizer, [text for _, text in texts], 64, config=options)
    assert profile.slots == 64
    assert again == profile
    assert kmem.calibrate(own, tokenizer, texts, 64, config=options) == profile
    assert profile.provenance["corpus"] == corpus
    assert profile.provenance["passages"] == 4
    assert again.provenance["corpus"] == "24 texts"
    assert [parameter.requires_grad for parameter in own.parameters()] == before
    for wrong in (("a", 3), ("a", "b", "c"), 3):
        with pytest.raises(WrongTypeError, match="A text must be a string or"):
            kmem.calibrate(own, tokenizer, [wrong], 64)  # type: ignore[list-item]
    with pytest.raises(WrongTypeError, match="texts must be a source or a list"):
        kmem.calibrate(own, tokenizer, 3, 64)  # type: ignore[arg-type]
    with pytest.raises(SourceNotFoundError, match="The list of 1 texts holds no document over 150"):
        kmem.calibrate(own, tokenizer, ["short"], 64)


def test_what_is_said_of_a_calibration_is_what_was_used(corpus: str) -> None:
    known = passages(corpus, held_out=False)
    few = Calibrator(model(), byte_tokenizer(), config(corpus, steps=1, passages=500), known=known).run()
    said = provenance(few, "kmem calibrate")
    assert said["passages"] == len(known)
    assert said["bracket_chosen_on"] == f"passages that were learnt from, because the corpus has only {len(known)} to calibrate with"
    assert said["objective"].startswith("nats a target token: 0.6 first words → the rest, 0.4 blanked name or number; one batch in 3")
    enough = Calibrator(model(), byte_tokenizer(), config(corpus, steps=1, passages=4), known=known[:6]).run()
    assert provenance(enough, "")["bracket_chosen_on"] == "2 passages that were not learnt from"


def test_more_slots_than_the_model_has(corpus: str) -> None:
    with pytest.raises(ConfigError, match="slots 2000 are more than 4 × 2 heads can keep, which is 1024"):
        Calibrator(model(), byte_tokenizer(), config(corpus, slots=(2000,)))
    for slots in ((), (8, 8), (0,)):
        with pytest.raises(ConfigError, match="slots"):
            config(corpus, slots=slots)


def test_batches_are_a_matter_of_seed_and_step(corpus: str) -> None:
    objective = Objective(byte_tokenizer(), passages(corpus, held_out=False)[:8], 3)
    again = Objective(byte_tokenizer(), passages(corpus, held_out=False)[:8], 3)
    for step in range(6):
        one, other = objective.batch(step, 8), again.batch(step, 8)
        assert torch.equal(one.rows, other.rows)
        assert one.probes == other.probes
        assert one.rows.shape[1] == (5 if step % 3 == 2 else 1)
        assert len(one.probes) == 8  # without titles, the other kinds share their part
        assert float((one.weight * torch.tensor([len(probe.target) for probe in one.probes])).sum()) == pytest.approx(1)


def test_worth_equals_leaving_each_head_out_by_hand(corpus: str) -> None:
    whole, tokenizer = model().requires_grad_(False), byte_tokenizer()
    like = uniform8_profile(4, 2)
    encoder = Encoder(whole, tokenizer, dense_profile(4, 2, like=like))
    objective = Objective(tokenizer, passages(corpus, held_out=False)[:3], 0)
    probes, rows = objective.first("continuation", 3)
    worth = worth_of_heads(whole, rank_memories(encoder, objective.references(tokenizer)), probes, rows)
    budget = [list(row) for row in encoder.profile.budget]
    budget[2][1] = 0
    without = Encoder(whole, tokenizer, Profile(name="w", budget=tuple(map(tuple, budget))))
    by_hand = 0.0
    for writer, sign in ((without, 1), (encoder, -1)):
        memories = writer.encode_tokens([probe.reference for probe in probes], list(range(3)))
        by_hand += sign * sum(target_nll(whole, probe.context, probe.target, memories.take([row])) for row, probe in enumerate(probes))
    assert float(worth[2, 1]) == pytest.approx(by_hand / sum(len(probe.target) for probe in probes), abs=1e-4)
