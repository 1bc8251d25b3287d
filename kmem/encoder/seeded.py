"""A preset as a real model: random weights and a real tokenizer, the same on every machine, device and precision."""

from itertools import islice, product
from math import isqrt

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.initialization import no_init_weights

from kmem.encoder.presets import PREFIX, preset

SEED = 0
STD = 0.02
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
SPECIAL = ("<s>", "</s>")


def seeded_model(name: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> PreTrainedModel:
    """The preset of that name with seeded normal weights, σ = 0.02, its norms at one. Raises UnknownNameError.

    Weights are drawn tensor by tensor in float32 on the processor, then rounded, so the model is the same in another precision or
    elsewhere; on device `meta` there are none.
    """
    bos, eos = range(preset(name).vocabulary - len(SPECIAL), preset(name).vocabulary)
    config = LlamaConfig(**preset(name).config(), bos_token_id=bos, eos_token_id=eos)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), no_init_weights():
            model: PreTrainedModel = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(usual)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.is_meta:
                parameter.copy_(torch.empty(parameter.shape, dtype=torch.float32).normal_(std=STD, generator=generator))
    model.config._name_or_path = f"{PREFIX}{name}"
    return model.eval()


def preset_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """256 bytes, pairs of letters, and as many pairs of pairs as the vocabulary has room for: every id has a text, so whatever the model
    generates can be a query. Raises UnknownNameError.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    room = preset(name).vocabulary - len(alphabet) - len(SPECIAL)
    merges: list[tuple[str, str]] = list(product(LETTERS, LETTERS))
    pairs = ["".join(pair) for pair in merges]
    common = pairs[: isqrt(room - len(pairs)) + 1]
    merges += islice(product(common, common), room - len(pairs))
    symbols = [*alphabet, *("".join(merge) for merge in merges), *SPECIAL]
    backend = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(symbols)}, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    bos, eos = SPECIAL
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token=eos, pad_token=eos, padding_side="left")
