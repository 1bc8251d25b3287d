"""Scan of a selective state space with one decay a head (Mamba-2's SSD, arXiv 2405.21060 §6)."""

from kmem.kernels.ssd_scan.chunked import ssd_scan

__all__ = ["ssd_scan"]
