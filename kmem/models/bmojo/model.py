"""The stack of layers."""

from torch import LongTensor, Tensor, arange, nn
from transformers import PreTrainedModel, initialization
from transformers.modeling_outputs import BaseModelOutputWithPast

from kmem.errors import ConfigError
from kmem.models.bmojo.block import Block
from kmem.models.bmojo.cache import BMojoCache
from kmem.models.bmojo.config import BMojoConfig
from kmem.models.bmojo.convolution import CausalConvolution
from kmem.models.bmojo.fading import FadingMemory, GatedNorm
from kmem.models.bmojo.rope import RotaryEmbedding
from kmem.models.bmojo.rows import require_even_rows


class BMojoPreTrainedModel(PreTrainedModel):  # type: ignore[misc]  # transformers is untyped here
    """What both models share."""

    config: BMojoConfig
    config_class = BMojoConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ("Block",)
    _is_stateful = True  # no decoding that takes tokens back
    _supports_sdpa = True

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, FadingMemory):
            module.reset_parameters()
        elif isinstance(module, GatedNorm):
            initialization.ones_(module.weight)
        elif isinstance(module, CausalConvolution):
            bound = module.kernel**-0.5
            initialization.uniform_(module.weight, -bound, bound)
            initialization.zeros_(module.bias)


class BMojoModel(BMojoPreTrainedModel):
    def __init__(self, config: BMojoConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = RotaryEmbedding(config.head_dim, config.rope_base)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        input_ids: LongTensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: BMojoCache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPast | tuple[object, ...]:
        """input_ids [B, T] or inputs_embeds [B, T, C] → last_hidden_state [B, T, C], and the cache where use_cache.

        With a cache the tokens come right after those it has seen; cut where you like, the output is the same. position_ids [B or 1, T]:
        where keys are rotated to, unless one after another from 0 on; window, chunks and store count tokens all the same. use_cache:
        None = as the config says, never while training. Raises ConfigError for rows of different length (see rows.py), no token at all,
        and another model's cache.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ConfigError("Give either input_ids or inputs_embeds.")
        if past_key_values is not None and not isinstance(past_key_values, BMojoCache):
            raise ConfigError(
                f"B'MOJO remembers in a BMojoCache, not in a {type(past_key_values).__name__}: give none and it makes its own."
            )
        use_cache = self.config.use_cache and not self.training if use_cache is None else use_cache
        if use_cache and past_key_values is None:
            past_key_values = BMojoCache(len(self.layers))
        require_even_rows(attention_mask, cached=past_key_values is not None)
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if not hidden.shape[1]:
            raise ConfigError("There is no token to read: give at least one a row.")
        past = past_key_values.seen if past_key_values is not None else 0
        if position_ids is None:
            position_ids = arange(past, past + hidden.shape[1], device=hidden.device)[None]
        rotation = self.rotary_emb(hidden, position_ids)
        every = [hidden]
        for index, layer in enumerate(self.layers):
            state = past_key_values.states[index] if past_key_values is not None else {}
            hidden, after = layer(hidden, state, past, rotation, past_key_values is not None)
            every.append(hidden)
            if past_key_values is not None:
                past_key_values.states[index] = after
        if past_key_values is not None:
            past_key_values.seen += hidden.shape[1]
        hidden = self.norm(hidden)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        output = BaseModelOutputWithPast(
            last_hidden_state=hidden,
            past_key_values=past_key_values if use_cache else None,
            hidden_states=(*every[:-1], hidden) if wanted else None,
        )
        named = self.config.return_dict if return_dict is None else return_dict
        return output if named else output.to_tuple()
