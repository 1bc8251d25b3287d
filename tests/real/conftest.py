"""SmolLM2-135M-Instruct, loaded once."""

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.encoder.load import load_model


@pytest.fixture(scope="session")
def smollm2() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return load_model("smollm2")
