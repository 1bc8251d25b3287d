"""Shipped scorers as package data: a folder each, `scorer.json` and `weights.safetensors`."""
