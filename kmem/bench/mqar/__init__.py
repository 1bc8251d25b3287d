"""Recall of pairs: B'MOJO against what it is made of, at equal bytes."""
