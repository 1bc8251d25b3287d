"""Finished runs of the recipe `scattered`; `kmem bench mqar --full --runs FOLDER` makes them anew."""
