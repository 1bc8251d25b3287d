"""What a build runs on: its executor, and what this process must know of model and embedder."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kmem.encoder.adapter import read_adapter
from kmem.encoder.anatomy import examine
from kmem.encoder.defaults import AUTO, DTYPE
from kmem.encoder.encode import Encoder, EncoderConfig
from kmem.encoder.load import load_model
from kmem.encoder.named import parted
from kmem.encoder.profiles import load_profile
from kmem.kstore.index.factory import require_fitting
from kmem.pipelines.config import BuildConfig, ExecutorConfig
from kmem.pipelines.executors import executor_of
from kmem.pipelines.executors.local import InProcess
from kmem.pipelines.executors.protocol import Executor
from kmem.pipelines.report import Clock
from kmem.pipelines.tools import Recipe, Tools
from kmem.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Machine:
    """`encoder` is the client's own: where other processes encode, only its description counts. embedder: the retriever's `identity()`."""

    executor: Executor
    tools: Tools
    recipe: Recipe
    encoder: Encoder
    embedder: dict[str, Any]
    clock: Clock

    @property
    def dim(self) -> int:
        """Of the embedder's vectors; 0 for an index of words alone."""
        return int(self.embedder.get("dim", 0))


@contextmanager
def machine(config: BuildConfig, executor: ExecutorConfig, progress: Progress, *, here: bool) -> Iterator[Machine]:
    """Start what runs the steps, and load the model and the embedder; `here`: whatever is asked for, in this process.

    Raises what loading raises, ConfigError for an index that the embedder's vectors can't have, and what `executor_of` does.
    """
    progress("load", 0, 0)
    clock, tools = Clock(), Tools()
    # First, since an address where nobody answers is told sooner than a model is loaded.
    running: Executor = InProcess(tools) if here else executor_of(executor, tools, config.device)
    try:
        encoder = load_encoder(config)
        recipe = recipe_of(config, encoder)
        tools.put(("encoder", recipe), encoder)
        tools.put(("tokenizer", recipe.model), encoder.tokenizer)
        embedder = recipe.retriever(tools).identity()  # loads it: a wrong name is told before anything is read
        require_fitting(config.index, embedder.get("dim", 0))
        progress("load", 1, 1)
        clock.mark("load")
        yield Machine(executor=running, tools=tools, recipe=recipe, encoder=encoder, embedder=embedder, clock=clock)
    finally:
        running.close()


def load_encoder(config: BuildConfig) -> Encoder:
    """The encoder of a build. Raises what `load_model` and `load_profile` do."""
    dtype = DTYPE if config.dtype == AUTO and not config.encode else config.dtype
    model, tokenizer = load_model(config.model, dtype=dtype, device=config.device)
    anatomy = examine(model)
    profile = load_profile(profile_of(config), layers=anatomy.layers, heads=anatomy.heads, selector=config.selector)
    return Encoder(model, tokenizer, profile, EncoderConfig(batch_size=config.batch_size))


def profile_of(config: BuildConfig) -> str:
    """The profile's name: `auto` is the one that the model's adapter was trained for, where it has one."""
    _, adapter = parted(config.model)
    if config.profile == AUTO and adapter is not None and (found := read_adapter(adapter).profile) is not None:
        return str(found)
    return config.profile


def recipe_of(config: BuildConfig, encoder: Encoder) -> Recipe:
    """How workers make the same."""
    return Recipe(
        model=config.model,
        dtype=str(encoder.model.dtype).removeprefix("torch."),
        device=config.device,
        batch_size=config.batch_size,
        profile=json.dumps(encoder.profile.to_dict()),
        embedder=config.embedder,
        query_prefix=config.query_prefix,
        passage_prefix=config.passage_prefix,
    )
