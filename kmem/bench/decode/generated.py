"""One timed call of `generate`: when every token came."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from transformers import PreTrainedModel
from transformers.generation.streamers import BaseStreamer

from kmem.bench.device import peak_of
from kmem.errors import MeasurementError


@dataclass(frozen=True, kw_only=True, eq=False)
class Generated:
    """tokens [B, n] ids, prompt and padding included; seconds of the whole; arrived [new] seconds at which each new token of a row came.

    device_bytes: the most memory that was taken on the model's GPU meanwhile; None on a CPU.
    """

    tokens: torch.Tensor
    seconds: float
    arrived: tuple[float, ...]
    device_bytes: int | None = None

    @property
    def first_s(self) -> float:
        """Until the first token."""
        return self.arrived[0]

    @property
    def decode_s(self) -> float:
        """From the first token on."""
        return self.seconds - self.first_s

    def stalls(self, ticks: Sequence[int]) -> list[float]:
        """How much longer than the usual one each of these steps took, in seconds; step i makes new token i, i > 0."""
        steps = [after - before for before, after in zip(self.arrived, self.arrived[1:], strict=False)]
        usual = median(step for index, step in enumerate(steps, 1) if index not in ticks)
        return [steps[tick - 1] - usual for tick in ticks]


class _Arrivals(BaseStreamer):  # type: ignore[misc]
    """Notes when each token was there; the first thing put is the prompt."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Nothing to flush."""


def timed_generate(model: PreTrainedModel, input_ids: torch.Tensor, mask: torch.Tensor, new_tokens: int, *, began: float) -> Generated:
    """Generate exactly `new_tokens` greedily after input_ids and mask [B, n]; the clock runs since `began`.

    Raises MeasurementError when there were more or fewer.
    """
    arrivals = _Arrivals()
    with torch.inference_mode(), peak_of(model.device) as peak:
        tokens = model.generate(
            input_ids=input_ids,
            attention_mask=mask,
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            do_sample=False,
            streamer=arrivals,
        )
    seconds = time.perf_counter() - began
    made = tokens.shape[1] - input_ids.shape[1]
    if made != new_tokens or len(arrivals.times) != new_tokens + 1:
        raise MeasurementError(f"{new_tokens} new tokens were asked for, {made} came: this can't be compared; use a plain model folder.")
    arrived = tuple(moment - began for moment in arrivals.times[1:])
    return Generated(tokens=tokens, seconds=seconds, arrived=arrived, device_bytes=peak.bytes)
