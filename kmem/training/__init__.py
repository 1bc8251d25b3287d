"""Measure and calibrate how well a model reads memories, and train it to."""
