"""Real faults for the tests of faults: children killed at a random moment, disks that are full, and what a bank says of itself."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import pytest
import torch

from kmem.kstore.bank import Bank, open_bank
from kmem.kstore.place.local import PARTIAL_SUFFIX
from tests.kstore.kit import NgramEmbedder

QUERY = "What says page three of iron?"


class Said(NamedTuple):
    """A bank's answers: ids in order, a digest of what each memory holds, and the ids that a search finds."""

    ids: tuple[int, ...]
    memories: tuple[str, ...]
    hits: tuple[tuple[int, float, str], ...]


def said(bank: Bank) -> Said:
    """Everything that `bank`, open with an NgramEmbedder, answers."""
    ids = tuple(bank.ids.tolist())
    memories = bank.read(ids)
    kept, texts = memories.slot_position.numpy(), bank.chunks(ids)
    digests = []
    for row, chunk in enumerate(texts):
        raw = memories.kv[row].contiguous().view(torch.uint8).numpy().tobytes() + kept[row].tobytes()
        digests.append(sha256(raw + repr((chunk, int(memories.lengths[row]))).encode()).hexdigest())
    hits = tuple((hit.id, round(hit.score, 5), hit.text) for hit in bank.search(QUERY, k=5))
    return Said(ids, tuple(digests), hits)


def answers(path: Path) -> Said:
    """What a bank answers to somebody who opens it now."""
    with open_bank(path, NgramEmbedder()) as bank:
        return said(bank)


def bank_files(path: Path) -> dict[str, bytes]:
    """Every file that is the bank; `build/` is the log of how it came to be, and what was never finished counts for nothing."""
    files = {str(file.relative_to(path)): file for file in sorted(path.rglob("*")) if file.is_file()}
    return {name: file.read_bytes() for name, file in files.items() if not name.startswith("build/") and file.suffix != PARTIAL_SUFFIX}


def child(work: Callable[[], object]) -> tuple[int, int]:
    """Run `work` in a forked process → its pid, and a descriptor that gives one byte when it starts and ends when it ends."""
    ready, begun = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(begun)
        return pid, ready
    code = 1
    try:  # the threads of OpenMP did not come along
        torch.set_num_threads(1)
        faiss.omp_set_num_threads(1)
        os.write(begun, b"!")
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def run_for(work: Callable[[], object], seconds: float) -> bool:
    """Run `work` in a process of its own and kill −9 it after so many seconds → whether it had ended by then. It must not fail."""
    pid, ready = child(work)
    assert os.read(ready, 1) == b"!"
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.close(ready)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status == 0


def run_until(work: Callable[[], object], seen: Callable[[], bool]) -> bool:
    """Run `work` in a process of its own and kill −9 it the moment that `seen` is true → whether it ended first. It must not fail."""
    pid, ready = child(work)
    ended, status = 0, 0
    while not ended and not seen():
        time.sleep(0.0005)
        ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    os.close(ready)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return os.waitstatus_to_exitcode(status) == 0


def interrupted(work: Callable[[], object], seen: Callable[[], bool], errors: Path, by: int = signal.SIGINT) -> int:
    """Run `work` in a process of its own, send Ctrl-C, or `by`, the moment that `seen` is true → its exit code.

    `errors` gets its standard error. It must not have ended before.
    """

    def heeding() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background has it ignored
        with errors.open("w") as file:
            os.dup2(file.fileno(), 2)
        sys.stderr = os.fdopen(2, "w")
        try:
            work()
        except SystemExit as error:
            sys.stderr.flush()
            os._exit(int(error.code or 0))

    pid, ready = child(heeding)
    while not seen():
        time.sleep(0.0005)
        assert os.waitpid(pid, os.WNOHANG)[0] == 0, "it ended before"
    os.kill(pid, by)
    _, status = os.waitpid(pid, 0)
    os.close(ready)
    return os.waitstatus_to_exitcode(status)


def seconds_of(work: Callable[[], object]) -> float:
    """How long `work` takes in a process of its own."""
    pid, ready = child(work)
    os.read(ready, 1)
    start = time.perf_counter()
    assert os.waitpid(pid, 0)[1] == 0
    os.close(ready)
    return time.perf_counter() - start


@contextlib.contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """Whatever this process writes beyond so many bytes of a file is refused, as on a full disk. Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Disk:
    """A file system in memory whose size can be changed; the test is skipped where it can't be mounted."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        done = self._mount("size=64m")
        if done.returncode:
            pytest.skip(f"a tmpfs can't be mounted here: {done.stderr.strip()}")

    def leave(self, free_bytes: int) -> None:
        """Leave so much room, rounded to pages."""
        used = shutil.disk_usage(self.folder).used
        done = self._mount(f"remount,size={max(4096, used + free_bytes)}")
        assert done.returncode == 0, done.stderr

    def read_only(self) -> None:
        """Refuse whatever is written from now on."""
        done = self._mount("remount,ro")
        assert done.returncode == 0, done.stderr

    def used(self) -> int:
        return shutil.disk_usage(self.folder).used

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False)

    def _mount(self, options: str) -> "subprocess.CompletedProcess[Any]":
        command = ["mount", "-t", "tmpfs", "-o", options, "kmem-test", str(self.folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """A `Disk` for the time being."""
    mounted = Disk(folder)
    try:
        yield mounted
    finally:
        mounted.close()
