"""A KV cache that forgets: what it stores, what it watches, what it drops, and the attention over what is left."""
