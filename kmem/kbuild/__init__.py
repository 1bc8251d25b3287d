"""Documents → clean chunks of at most 128 tokens. Knows text and tokens; never the store nor the language model."""
