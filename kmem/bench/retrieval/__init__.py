"""`kmem bench retrieval`: which retriever finds the article that a sentence without its title's words comes from."""
