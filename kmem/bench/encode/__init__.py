"""`kmem bench encode`: chunks per second, and what stands between them and the machine."""
