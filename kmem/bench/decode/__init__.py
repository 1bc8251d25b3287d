"""`kmem bench decode`: tokens per second while reading memories, nothing, or the texts themselves."""
