"""Profiles as package data: budgets with their provenance."""
