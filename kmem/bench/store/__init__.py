"""`kmem bench store`: reading and writing a bank against a plain file and the other readers of Zarr. Start at `measure.py`."""
