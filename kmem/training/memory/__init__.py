"""Stage two (Memory³ §3.6): a model learns to write and read its memories."""
