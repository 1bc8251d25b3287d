"""`kmem plan`: Memory³'s cost model (App. A) and memory hierarchy, for any model shape, corpus and machine. Importable without torch."""
