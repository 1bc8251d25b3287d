"""How fast an index of a million vectors is, what it finds, and what building it takes."""
