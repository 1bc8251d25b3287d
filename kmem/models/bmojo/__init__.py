"""B'MOJO: fading state, eidetic tokens by innovation, one attention over both. Importing it tells transformers' Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from kmem.models.bmojo.cache import BMojoCache
from kmem.models.bmojo.causal_lm import BMojoForCausalLM
from kmem.models.bmojo.config import BMojoConfig
from kmem.models.bmojo.model import BMojoModel

AutoConfig.register("bmojo", BMojoConfig)
AutoModel.register(BMojoConfig, BMojoModel)
AutoModelForCausalLM.register(BMojoConfig, BMojoForCausalLM)

__all__ = ["BMojoCache", "BMojoConfig", "BMojoForCausalLM", "BMojoModel"]
