"""The retriever of a bank whose index was made of its model's hidden states: it takes the model."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.encoder.defaults import DEVICE
from kmem.encoder.hidden import HiddenStates
from kmem.encoder.load import load_model
from kmem.errors import ModelNotFoundError
from kmem.kstore.bank import Bank
from kmem.kstore.index.retriever import require_same_embedder
from kmem.kstore.index.retrievers import needs_model, recorded_retriever
from kmem.kstore.manifest import Manifest


def loaded_hidden_states(manifest: Manifest, *, model: str | None = None, device: str = DEVICE) -> HiddenStates:
    """Of the model that wrote this bank, loaded in the precision that it encoded in.

    model: where it is now, None = where it was when the bank was built. Raises ModelNotFoundError.
    """
    name = model or manifest.identity.model
    try:
        loaded, tokenizer = load_model(name, dtype=manifest.encoder_dtype, device=device)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"The bank's index was made of hidden states of {manifest.identity.model!r}, which has to be loaded to search it: {error}"
        ) from error
    return HiddenStates(loaded, tokenizer)


def hidden_states_for(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> HiddenStates | None:
    """Those of `model`, if they are what the bank's index was made of. Raises IdentityMismatchError when it was another model's."""
    recorded = bank.manifest.index.embedder
    if not needs_model(recorded):
        return None
    hidden = HiddenStates(model, tokenizer)
    require_same_embedder(recorded, recorded_retriever(recorded, hidden=lambda: hidden).identity())
    return hidden
