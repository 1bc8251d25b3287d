"""Chunks → memories: load a model, run its memory-layer prefix, capture keys and values, choose tokens."""
