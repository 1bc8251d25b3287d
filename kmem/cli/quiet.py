"""Keep third-party progress bars and warnings off the terminal; our own output is all a user sees."""

import logging
import os
import sys
import warnings
from typing import TextIO

from kmem.errors import NotStoredWarning


def hush() -> None:
    """Call before the first import of transformers, which reads these variables once."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.getLogger("faiss").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", NotStoredWarning)
    warnings.showwarning = _say


def _say(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    """A warning as a sentence, without the line of code that gave it."""
    sys.stderr.write(f"kmem: {message}\n")
