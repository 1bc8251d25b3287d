"""What one would write without kmem: a plain forward that returns its attention, over the same references in the same batches' size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel


@contextmanager
def eager(model: PreTrainedModel) -> Iterator[None]:
    """The model with the attention that can return its weights; put back on leaving."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attend_plainly(model: PreTrainedModel, references: Sequence[Sequence[int]], batch_size: int) -> int:
    """Run AutoModel (`model` without its head) over references of token ids, in the order given, each batch padded to its longest, with
    `output_attentions` → how many attention matrices came back, one a layer and batch.
    """
    found = 0
    with torch.inference_mode(), eager(model):
        for start in range(0, len(references), batch_size):
            batch = references[start : start + batch_size]
            longest = max(map(len, batch))
            ids = torch.tensor([[*tokens, *[0] * (longest - len(tokens))] for tokens in batch], device=model.device)
            mask = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens in batch], device=model.device)
            output = model.base_model(input_ids=ids, attention_mask=mask, output_attentions=True, use_cache=False)
            found += len(output.attentions)
    return found
