"""`kmem bench compression`: the paper's ledger, and what each quantiser keeps of real memories."""
