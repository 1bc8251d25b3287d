"""Memories → disk and back: manifest, Zarr layout, quantisers, index, reader. Knows bytes, never the language model."""
