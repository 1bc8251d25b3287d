"""Before anything imports Triton: without a GPU its kernels are run by its interpreter, which must be chosen first."""

import os

import torch

os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")
