"""What a run that reads memories must have read (Memory³ §3.5): a figure about anything else is refused."""

from collections.abc import Sequence

from kmem.bench.decode.config import DecodeConfig
from kmem.errors import MeasurementError
from kmem.runtime.schedule import Span


def ticks(new_tokens: int, every: int) -> list[int]:
    """New tokens, counted from 0, whose step retrieves first: their predecessor begins another span. The first span inherits."""
    return list(range(every + 1, new_tokens, every))


def retrievals(prompt_tokens: int, new_tokens: int, every: int) -> int:
    """A row's: one a span of the prompt, one a span of generated tokens but the first. The last token is never fed back."""
    return -(-prompt_tokens // every) + len(ticks(new_tokens, every))


def require_schedule(
    spans: Sequence[Span], prompts: Sequence[Sequence[int]], new_tokens: int, config: DecodeConfig, retrieved: int
) -> None:
    """Raise MeasurementError unless these spans were read, `top_k` memories each, with so many searches."""
    every = config.every
    wanted = sum(retrievals(len(prompt), new_tokens, every) for prompt in prompts)
    if retrieved != wanted:
        raise MeasurementError(
            f"{retrieved} searches were made where the schedule has {wanted}: the figures would be about something else."
        )
    for row, prompt in enumerate(prompts):
        own = [span for span in spans if span.row == row]
        fed = len(prompt) + new_tokens - 1
        cuts = [*range(0, len(prompt), every), *range(len(prompt), fed, every)]
        expected = list(zip(cuts, [*cuts[1:], fed], strict=True))
        if [(span.start, span.stop) for span in own] != expected:
            raise MeasurementError(
                f"Row {row} read in spans {[(span.start, span.stop) for span in own]} where the schedule has {expected}."
            )
        for span in own:
            if len(set(span.ids)) != config.top_k:
                raise MeasurementError(
                    f"Row {row} read {len(set(span.ids))} memories at token {span.start}, not {config.top_k}; a chunk of spaces finds "
                    f"none, so give a larger every than {every} (--every)."
                )
        first_new = next(span for span in own if span.start == len(prompt))
        before = next(span for span in own if span.stop == len(prompt))
        if first_new.ids != before.ids:
            raise MeasurementError(f"Row {row} did not inherit the prompt's last memories at token {len(prompt)}.")
