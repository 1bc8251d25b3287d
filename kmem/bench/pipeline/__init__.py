"""`kmem bench pipeline`: what the stages of a build find, and what they cost."""
