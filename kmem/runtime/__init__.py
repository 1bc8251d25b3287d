"""Attach a bank to a model while it generates: retrieve, load, inject, trace."""
