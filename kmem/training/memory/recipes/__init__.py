"""Recipes that are shipped."""
