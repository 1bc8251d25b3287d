"""Builds on worker processes: the same bank, whoever dies on the way."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread

import dask
import psutil  # type: ignore[import-untyped]
import pytest
from distributed import LocalCluster

from kmem.errors import ConfigError, WorkersLostError
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kstore.place import place_of
from kmem.pipelines.build import build
from kmem.pipelines.config import BuildConfig, ExecutorConfig
from kmem.pipelines.executors import cluster as executor
from kmem.pipelines.executors.cluster import Cluster, Failure, _undisturbed_loop, run_task
from kmem.pipelines.ledger import Receipt
from kmem.pipelines.tools import Tools
from tests import s3
from tests.pipelines.test_build import bank_bytes

PARTITION_BYTES = 1500
DOCUMENTS = 12

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    (tmp_path / "pages").mkdir()
    for page in range(DOCUMENTS):
        text = " ".join(f"Table {page} maps {key} keys to values, as page {page * key} says." for key in range(8))
        (tmp_path / "pages" / f"{page:02}.txt").write_text(text)
    return tmp_path / "pages"


def config(tiny_folder: Path, **options: object) -> BuildConfig:
    """Words alone are indexed, so that no worker loads an embedder."""
    exact = DedupConfig(mode="exact")
    given = {"model": str(tiny_folder), "profile": "uniform8", "dtype": "float32", "shard_rows": 4, "embedder": "bm25", **options}
    return BuildConfig(**given, dedup=exact, dedup_chunks=exact)  # type: ignore[arg-type]


def worker_processes() -> list[psutil.Process]:
    """Those of LocalCluster that are alive."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it may end while it is looked at
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_workers_and_what_starts_them_are_spared_ctrl_c() -> None:
    """A terminal sends it to every process of a command; whoever is to close the workers still hears it."""
    blocked = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with _undisturbed_loop() as loop:
        asked: Future[str] = Future()
        loop.add_callback(lambda: asked.set_result(subprocess.check_output([sys.executable, "-c", blocked], text=True)))
        assert asked.result(timeout=60) == "True\n"
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert "PYTHONWARNINGS" not in os.environ


@pytest.mark.slow
def test_ctrl_c_while_workers_start_says_one_thing(tmp_path: Path, pages: Path, tiny_folder: Path) -> None:
    command = [sys.executable, "-m", "kmem", "build", str(pages), "--out", str(tmp_path / "bank"), "--model", str(tiny_folder)]
    options = ["--profile", "uniform8", "--embedder", "bm25", "--workers", "2"]
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests in the background has it ignored
    piped = partial(subprocess.Popen[str], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=heeding)
    with piped([*command, *options], start_new_session=True) as running:
        while running.poll() is None and not worker_processes():
            time.sleep(0.05)
        time.sleep(1)
        os.killpg(running.pid, signal.SIGINT)
        try:
            said, _ = running.communicate(timeout=240)
        finally:
            running.kill()
    assert said == "kmem: stopped; nothing was written yet.\n"
    assert running.returncode == 130


@contextmanager
def killing(times: int, seen: Callable[[], int]) -> Iterator[list[int]]:
    """Kill −9 a random worker process each time that `seen` has grown, so many times → the pids."""
    killed: list[int] = []
    stop, choose = Event(), random.Random(0)

    def watch() -> None:
        last = 0
        while not stop.wait(0.01) and len(killed) < times:
            if seen() > last and (workers := worker_processes()):
                last = seen()
                killed.append(choose.choice(workers).pid)
                os.kill(killed[-1], signal.SIGKILL)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_invariant_7_workers_killed_at_random_give_the_same_bank(tiny_folder: Path, pages: Path, tmp_path: Path, kills: int) -> None:
    build(pages, out=tmp_path / "whole", config=config(tiny_folder))
    killed = tmp_path / "killed"

    def shards() -> int:
        return len(list((killed / "build" / "completions").glob("?????")))

    with killing(kills, shards) as pids:
        report = build(
            pages, out=killed, config=config(tiny_folder), executor=ExecutorConfig(workers=2, partition_bytes=PARTITION_BYTES, attempts=9)
        )
    assert len(pids) == kills
    assert report.shards > 5
    assert bank_bytes(killed) == bank_bytes(tmp_path / "whole")


def test_a_worker_with_another_kmem_does_nothing() -> None:
    found = run_task(never, None, ".", "0.0.0")
    assert isinstance(found, Failure)
    assert found.final
    assert isinstance(found.error(), ConfigError)
    assert "this process 0.0.0: install the same one" in str(found.error())


def never(*_: object) -> Receipt:
    raise AssertionError("this must not be reached")


def test_a_scheduler_without_workers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "START_S", 0.2)
    with (
        LocalCluster(n_workers=0, protocol="tcp://", dashboard_address="127.0.0.1:0", silence_logs=50) as empty,
        pytest.raises(WorkersLostError, match="has no workers: start some with dask worker tcp:"),
    ):
        Cluster(ExecutorConfig(scheduler=empty.scheduler_address), "cpu")


def test_workers_that_are_gone_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmem.pipelines.executors.vigil.GONE_S", 0.5)
    with LocalCluster(n_workers=1, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0", silence_logs=50) as small:
        running = Cluster(ExecutorConfig(scheduler=small.scheduler_address), "cpu")
        try:
            assert len(list(running.map(number, range(3), lambda *_: None))) == 3
            small.scale(0)
            while running._client.nthreads():
                time.sleep(0.01)
            with pytest.raises(WorkersLostError, match=r"^All workers went away, and none came back; .* with --resume\.$"):
                list(running.map(number, range(3), lambda *_: None))
        finally:
            running.close()


def test_a_scheduler_that_does_not_answer_is_told_within_seconds(
    tiny_folder: Path, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a model is loaded. The port is one that nobody listens at."""
    assert executor.ANSWER_S <= 5
    monkeypatch.setattr(executor, "ANSWER_S", 0.3)
    monkeypatch.setattr("kmem.pipelines.machine.load_encoder", never)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(WorkersLostError, match=rf"^No scheduler answers at --scheduler {address} \(not within 0\.3 seconds\)"):
            build(pages, out=tmp_path / "bank", config=config(tiny_folder), executor=ExecutorConfig(scheduler=address))
    with pytest.raises(WorkersLostError, match=r"No scheduler answers at --scheduler nowhere \(.*missing port"):
        Cluster(ExecutorConfig(scheduler="nowhere"), "cpu")


def test_workers_that_do_not_start_are_one_sentence_and_leave_no_setting(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no such thing')")
    with dask.config.set({"distributed.worker.preload": [str(tmp_path / "broken.py")]}):
        before = dask.config.get("distributed.deploy.lost-worker-timeout")
        with pytest.raises(WorkersLostError, match=r"^The worker processes of --workers 1 could not be started \(") as raised:
            Cluster(ExecutorConfig(workers=1), "cpu")
        assert "\n" not in str(raised.value)
        assert dask.config.get("distributed.deploy.lost-worker-timeout") == before
    assert "Traceback" not in capfd.readouterr().err


def number(task: int, tools: Tools) -> Receipt:
    return Receipt(index=task)


def test_a_scheduler_holds_few_tasks_and_all_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing of it can be seen from elsewhere."""
    monkeypatch.setattr(executor, "AT_ONCE", 3)
    monkeypatch.setattr(executor, "AHEAD", 1)
    running = Cluster(ExecutorConfig(workers=1), "cpu")
    try:
        held, indices = [], []
        for outcome in running.map(number, range(20), lambda *_: None):
            assert outcome.receipt is not None
            indices.append(outcome.receipt.index)
            held.append(len(running._client.futures))
        assert sorted(indices) == list(range(20))
        assert running.announcement.startswith("1 worker; Dask's") or running.announcement.startswith("1 worker at ")
        assert max(held) < 10  # what was let go is forgotten a little later
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        heard = {each.laddr.ip for process in processes for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
        assert heard == {"127.0.0.1"}
    finally:
        running.close()


BARE = """
import sys

class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "kmem":
            raise ModuleNotFoundError("No module named 'kmem'")

sys.meta_path.insert(0, Bare())
"""


@pytest.mark.slow
def test_workers_without_kmem(tiny_folder: Path, pages: Path, tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(BARE)
    preload = f'["{tmp_path / "bare.py"}"]'
    with (
        cluster(tmp_path, 1, DASK_DISTRIBUTED__WORKER__PRELOAD=preload) as (address, _),
        pytest.raises(WorkersLostError, match=r"can't import kmem .*install kmem"),
    ):
        build(pages, out=tmp_path / "bank", config=config(tiny_folder), executor=ExecutorConfig(scheduler=address))


@contextmanager
def cluster(folder: Path, workers: int, **environment: str) -> Iterator[tuple[str, list["subprocess.Popen[str]"]]]:
    """What a person starts from the shell: a scheduler and workers → its address, and all processes, the scheduler first."""
    dask, file = str(Path(sys.executable).with_name("dask")), folder / "scheduler.json"
    start = partial(subprocess.Popen[str], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | environment)
    file.unlink(missing_ok=True)
    processes = [start([dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file), "--host", "127.0.0.1"])]
    worker = [dask, "worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
    processes += [start([*worker, "--local-directory", str(folder / f"worker{number}")]) for number in range(workers)]
    try:
        while not file.exists():
            time.sleep(0.05)
        import json

        yield json.loads(file.read_text())["address"], processes
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait()


@pytest.mark.slow
def test_the_scheduler_is_killed_and_another_one_goes_on(tiny_folder: Path, pages: Path, tmp_path: Path) -> None:
    build(pages, out=tmp_path / "whole", config=config(tiny_folder))
    out = tmp_path / "bank"
    completions = out / "build" / "completions"
    with cluster(tmp_path, 2) as (address, processes):

        def kill_when_begun() -> None:
            while not list(completions.glob("?????")):
                time.sleep(0.005)
            processes[0].kill()

        Thread(target=kill_when_begun, daemon=True).start()
        with pytest.raises(WorkersLostError, match="--resume"):
            build(pages, out=out, config=config(tiny_folder), executor=ExecutorConfig(scheduler=address, partition_bytes=PARTITION_BYTES))
    there = len(list(completions.glob("?????")))
    with cluster(tmp_path, 1) as (address, _):
        again = ExecutorConfig(scheduler=address, partition_bytes=PARTITION_BYTES)
        report = build(pages, out=out, config=config(tiny_folder), executor=again, resume=True)
    assert report.shards_reused >= there > 0
    assert bank_bytes(out) == bank_bytes(tmp_path / "whole")


@pytest.mark.slow
def test_a_distributed_build_into_s3(tiny_folder: Path, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(pages, out=tmp_path / "whole", config=config(tiny_folder))
    with s3.served() as endpoint:
        bucket = s3.use_bucket(endpoint, monkeypatch)
        with cluster(tmp_path, 2) as (address, _):
            where = ExecutorConfig(scheduler=address, partition_bytes=PARTITION_BYTES)
            build(pages, out=bucket, config=config(tiny_folder), executor=where)
        place = place_of(bucket)
        files = {file: place.read(file) for file in place.sizes() if not file.startswith("build/")}
    assert files == bank_bytes(tmp_path / "whole")


POISON = """
import os, signal
from kmem.kbuild.chunker import Chunker
from kmem.encoder.encode import Encoder
if "cut" not in globals():  # Dask runs a preload again in the same module
    cut, encode = Chunker._chunks, Encoder.encode

def _chunks(self, document, counts):
    if "Table 7 " in document.text:
        os.kill(os.getpid(), signal.SIGKILL)
    yield from cut(self, document, counts)

def encoding(self, references, *arguments, **named):
    if any("Table 3 maps 5" in text for text in references):
        raise RuntimeError("poison")
    return encode(self, references, *arguments, **named)

Chunker._chunks, Encoder.encode = _chunks, encoding
"""


@pytest.mark.slow
def test_poison_is_set_aside(tiny_folder: Path, pages: Path, tmp_path: Path) -> None:
    """One document ends whatever process cuts it, one chunk can't be encoded: the rest becomes a bank."""
    import json

    import kmem

    build(pages, out=tmp_path / "whole", config=config(tiny_folder))
    (tmp_path / "poison.py").write_text(POISON)
    out = tmp_path / "bank"
    with dask.config.set({"distributed.worker.preload": [str(tmp_path / "poison.py")]}):
        report = build(pages, out=out, config=config(tiny_folder), executor=ExecutorConfig(workers=2, partition_bytes=PARTITION_BYTES))
    assert report.counts["rejected: ended its worker"] == 1
    assert report.counts["rejected: raised RuntimeError"] == 1
    rejected = [json.loads(line) for line in (out / "build" / "rejected.jsonl").read_text().splitlines()]
    assert {line["source"] for line in rejected} == {str(pages / "07.txt"), str(pages / "03.txt")}
    with kmem.open(tmp_path / "whole") as whole, kmem.open(out) as bank:
        texts = {chunk.id: chunk.text for chunk in whole.chunks(whole.ids.tolist()) if not chunk.source.endswith("07.txt")}
        gone = [memory_id for memory_id, text in texts.items() if "Table 3 maps 5" in text]
        assert set(bank.ids.tolist()) == set(texts) - set(gone)
        assert not [hit for hit in bank.search("Table 3 maps 5 keys", k=50) if not hit.text]
    stages = json.loads((out / "build" / "stats.json").read_text())["stages"]
    assert all(stage["in"] == stage["kept"] + sum(stage["dropped"].values()) + sum(stage["rejected"].values()) for stage in stages.values())
