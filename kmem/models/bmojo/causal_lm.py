"""The model with a head that predicts the next token; generates as any transformers model does."""

from torch import LongTensor, Tensor, nn
from transformers import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from kmem.models.bmojo.cache import BMojoCache
from kmem.models.bmojo.config import BMojoConfig
from kmem.models.bmojo.model import BMojoModel, BMojoPreTrainedModel


class BMojoForCausalLM(BMojoPreTrainedModel, GenerationMixin):  # type: ignore[misc]  # transformers is untyped here
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012  # transformers' own form

    def __init__(self, config: BMojoConfig) -> None:
        super().__init__(config)
        self.model = BMojoModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """No: the first call makes a BMojoCache, and generate hands it on."""
        return False

    def forward(
        self,
        input_ids: LongTensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: BMojoCache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: LongTensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        return_dict: bool | None = None,
    ) -> CausalLMOutputWithPast | tuple[Tensor, ...]:
        """Arguments as BMojoModel's → logits [B, T, V], of the last `logits_to_keep` tokens only where above 0.

        labels: [B, T], shifted inside; −100 counts for nothing. The loss is their mean cross-entropy, in nats.
        """
        read = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(read.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size)
        output = CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=read.past_key_values, hidden_states=read.hidden_states)
        named = self.config.return_dict if return_dict is None else return_dict
        return output if named else output.to_tuple()
