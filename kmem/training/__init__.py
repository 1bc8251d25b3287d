"""Measure and calibrate how well a model reads memories; later, train it to."""
