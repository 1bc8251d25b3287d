"""`kmem bench bmojo`: what a token costs, however many stand before it, and what a training step costs."""
