"""`kmem bench namm`: what a model still answers when policies drop tokens of its KV cache."""
