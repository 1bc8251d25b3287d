"""Leak guard: references that say what a model is to say by itself are dropped (Memory³, Eq. 6)."""
