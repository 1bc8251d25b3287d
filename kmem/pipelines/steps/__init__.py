"""What is done to texts on their way to a bank: one file a step, each of which runs wherever an executor puts it."""
