"""Learning which tokens a cache keeps: tasks with answers, recordings of prompts, a regression, then evolution."""
