"""How informative is a text? Small scorers, trained from labelled lines, that run beside the other steps of cleaning (Memory³ §7)."""
