"""An adapter is added to the weights that it was trained on, is part of the model's identity, and travels in the model's name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kmem.encoder.adapter import read_adapter
from kmem.encoder.encode import Encoder
from kmem.encoder.fingerprint import adapter_of, display_name
from kmem.encoder.load import load_model, load_outline, load_tokenizer
from kmem.encoder.named import parted, with_adapter
from kmem.errors import CheckpointError, ConfigError, IdentityMismatchError, KmemError, ModelNotFoundError
from kmem.identity import Identity
from kmem.runtime.attach import attach
from kmem.training.memory.run import prepare, train
from tests.tiny import byte_tokenizer, loud, tiny_model
from tests.training.memory.tiny import PROFILE, recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` and its `adapter`."""
    root = tmp_path_factory.mktemp("adapter")
    train(recipe(root), root / "adapter")
    return root


def test_it_is_the_model_that_was_trained(trained: Path, tmp_path: Path) -> None:
    setting = prepare(recipe(tmp_path), None)
    setting.trainer.run()
    setting.trainer.trained.save(tmp_path)
    loaded, _ = load_model(str(tmp_path / "model"), adapter=str(tmp_path))
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        assert torch.allclose(loaded(ids).logits, setting.trainer.encoder.model(ids).logits, atol=1e-4)
    assert read_adapter(str(tmp_path)).digest == read_adapter(str(trained / "adapter")).digest  # trained alike, on the same machine


def test_the_name_loads_both_again(trained: Path) -> None:
    model, _ = load_model(str(trained / "model"), adapter=str(trained / "adapter"))
    name = display_name(model)
    assert name == f"{trained / 'model'} + {trained / 'adapter'}"
    again, tokenizer = load_model(name)
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
    assert load_tokenizer(name)("abc")["input_ids"] == tokenizer("abc")["input_ids"]
    assert load_outline(name).config.hidden_size == model.config.hidden_size
    with pytest.raises(ConfigError, match="names an adapter already"):
        load_model(name, adapter=str(trained / "adapter"))


def test_names(tmp_path: Path) -> None:
    assert parted("smollm2") == ("smollm2", None)
    assert parted("smollm2 + runs/a b") == ("smollm2", "runs/a b")
    assert with_adapter("smollm2", None) == "smollm2"
    folder = tmp_path / "one + two"
    folder.mkdir()
    assert parted(str(folder)) == (str(folder), None)


def test_the_identity_names_it_whatever_the_precision(trained: Path) -> None:
    def identity(adapter: str | None, dtype: str = "float32") -> Identity:
        model, tokenizer = load_model(str(trained / "model"), adapter=adapter, dtype=dtype)
        return Encoder(model, tokenizer, PROFILE).spec.identity

    plain, adapted = identity(None), identity(str(trained / "adapter"))
    assert plain.mismatched_fields(adapted) == ["weights", "adapter"]
    assert adapted.adapter == read_adapter(str(trained / "adapter")).digest
    assert not adapted.mismatched_fields(identity(str(trained / "adapter"), "bfloat16"))
    assert "adapter" not in plain.to_dict()
    for each in (plain, adapted):
        assert Identity.from_dict(json.loads(json.dumps(each.to_dict()))) == each


def test_another_adapters_memories_are_refused_unless_that_is_allowed(trained: Path) -> None:
    plain, tokenizer = load_model(str(trained / "model"))
    adapted, _ = load_model(str(trained / "model"), adapter=str(trained / "adapter"))
    memories = Encoder(plain, tokenizer, PROFILE).encode(["A lake in the north."])
    with pytest.raises(IdentityMismatchError, match=r"adapter: bank none, here [0-9a-f]{16}.*load the adapter that wrote the bank"):
        attach(adapted, memories)
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        with attach(adapted, memories, allow_mismatch=True):
            read = adapted(ids).logits
        assert not torch.equal(read, adapted(ids).logits)
    other = Encoder(tiny_model("qwen2"), byte_tokenizer(), PROFILE).encode(["A lake in the north."])
    with pytest.raises(IdentityMismatchError, match="architecture"):
        attach(adapted, other, allow_mismatch=True)


def test_it_belongs_to_the_model_it_was_trained_on(trained: Path, tmp_path: Path) -> None:
    loud(tiny_model(), seed=3).save_pretrained(tmp_path / "other")
    byte_tokenizer().save_pretrained(tmp_path / "other")
    with pytest.raises(IdentityMismatchError, match=r"was trained on .*; load the model that it was trained on"):
        load_model(str(tmp_path / "other"), adapter=str(trained / "adapter"))
    with pytest.raises(ConfigError, match="has an adapter already"):
        prepare(recipe(tmp_path, model=f"{trained / 'model'} + {trained / 'adapter'}"), None)


def changed(folder: Path, **options: object) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **options}))


def test_peft_s_own_files_are_enough(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained / "adapter", tmp_path / "bare")
    (folder / "kmem.json").unlink()
    (folder / "profile.json").unlink()
    model, _ = load_model(str(trained / "model"), adapter=str(folder))
    assert adapter_of(model) == read_adapter(str(trained / "adapter")).digest
    assert read_adapter(str(folder)).profile is None
    changed(folder, use_rslora=True)
    assert read_adapter(str(folder)).scale == pytest.approx(read_adapter(str(trained / "adapter")).scale * 2**0.5)


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (lambda folder: changed(folder, use_dora=True), ConfigError, "a LoRA with use_dora"),
        (lambda folder: changed(folder, peft_type="IA3"), ConfigError, "of the kind IA3"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"x" * 99), CheckpointError, "is damaged"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), CheckpointError, "is damaged"),
        (lambda folder: (folder / "adapter_config.json").unlink(), ModelNotFoundError, "it has no adapter_config.json"),
    ],
)
def test_what_is_no_plain_lora_is_refused(
    trained: Path, tmp_path: Path, damage: Callable[[Path], object], error: type[KmemError], said: str
) -> None:
    folder = shutil.copytree(trained / "adapter", tmp_path / "copy")
    damage(folder)
    with pytest.raises(error, match=said):
        load_model(str(trained / "model"), adapter=str(folder))


def test_a_model_of_another_shape_is_refused(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained / "adapter", tmp_path / "copy")
    (folder / "kmem.json").unlink()
    tiny_model("qwen3").save_pretrained(tmp_path / "other")
    byte_tokenizer().save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"is for a layer .* of shape"):
        load_model(str(tmp_path / "other"), adapter=str(folder))
