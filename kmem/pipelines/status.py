"""`kmem status`: how far a build is, what it left out, whether anyone is at work on it, and how to go on."""

import json
import shlex
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kmem.errors import BankNotFoundError
from kmem.kstore.claim import BUILD, has_begun
from kmem.kstore.lease import lease_of
from kmem.kstore.lock import holder
from kmem.kstore.place import Place
from kmem.kstore.writer import is_committed
from kmem.pipelines.closing import CONFIG
from kmem.pipelines.ledger import REJECTED
from kmem.pipelines.receipts import EMBEDDED, EXECUTOR, STAGES, STATS
from kmem.pipelines.stats import CHUNKS, IN_ORDER, PROGRESS_UNITS, unit
from kmem.pipelines.watch import PROGRESS

FINISHED, AT_WORK, STOPPED = "finished", "at work", "stopped"
ENCODE, TEXTS = "encode", "texts"
_FOLDERS = {"completions": ENCODE, EMBEDDED: "embed"}
"""What stages leave that have no folder of their name."""


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """done, total: of `unit`, as the build last told them; of a finished build what came in. tasks: finished ones, by their
    markers, None when the build is finished. rate: units a second.
    """

    done: int = 0
    total: int = 0
    tasks: int | None = 0
    rate: float | None = None
    left_s: float | None = None
    unit: str = CHUNKS


@dataclass(frozen=True, kw_only=True)
class BuildStatus:
    """stages: in their order; of a build that encodes nothing `encode` is called `texts`, which is what it writes. encode: whether it
    encodes, None where it does not say. rejected: by reason. said_s: seconds since the build last gave a sign of life, None where it never
    did.
    """

    place: str
    state: str
    writer: str | None = None
    encode: bool | None = None
    said_s: float | None = None
    stages: Mapping[str, StageStatus] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    resume: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def status(place: Place) -> BuildStatus:
    """What can be told of the build at a place. Raises BankNotFoundError where none was ever begun."""
    finished = is_committed(place)
    files = place.sizes(BUILD)
    if not finished and not has_begun(place):
        raise BankNotFoundError(f"{place} holds no build: begin one with kmem build --out.")
    told, writer, stats = _json(place, PROGRESS), _writer(place), _json(place, f"{BUILD}/{STATS}")
    said = None if told is None else max(0.0, time.time() - told["time"])
    encode = (_json(place, f"{BUILD}/{EXECUTOR}") or {}).get("encode")
    stages = _stages_of(stats) if writer is None and finished and stats is not None else _stages(files, told)
    state = AT_WORK if writer is not None else FINISHED if finished else STOPPED
    return BuildStatus(
        place=str(place),
        state=state,
        writer=writer,
        said_s=said,
        encode=encode,
        stages={TEXTS if name == ENCODE and encode is False else name: stage for name, stage in stages.items()},
        rejected=_rejected(place, files, stats),
        resume=_way_on(place) if state == STOPPED else None,
    )


def _way_on(place: Place) -> str:
    """The command, where its options lie on this machine; sources may be named from the folder where the build was begun."""
    if place.folder is None or not (place.folder / CONFIG).exists():
        return f"repeat the kmem build that began {place} with --resume"
    return f"in the folder where it was begun: {shlex.join(['kmem', 'build', '--config', place.at(CONFIG), '--resume'])}"


def _stages(files: Mapping[str, int], told: Any) -> dict[str, StageStatus]:
    tasks: Counter[str] = Counter()
    for file in files:
        first, *rest = file.removeprefix(f"{BUILD}/").split("/")
        if first in _FOLDERS:
            tasks[_FOLDERS[first]] += 1
        elif rest[:1] == ["completions"]:
            tasks[first] += 1
    found: dict[str, StageStatus] = {}
    for name, stage in (told["stages"] if told else {}).items():
        took, did = stage["now"] - stage["began"], stage["done"] - stage["first"]
        rate = did / took if took > 0 and did > 0 else None
        left = (stage["total"] - stage["done"]) / rate if rate and stage["total"] else None
        found[name] = StageStatus(
            done=stage["done"], total=stage["total"], tasks=tasks.pop(name, 0), rate=rate, left_s=left, unit=_told_in(name)
        )
    return found | {name: StageStatus(tasks=count, unit=_told_in(name)) for name, count in tasks.items()}


def _told_in(stage: str) -> str:
    return PROGRESS_UNITS.get(stage, CHUNKS)


def _stages_of(stats: Any) -> dict[str, StageStatus]:
    """What each stage of a finished build took in, in their order; its markers are gone."""
    counts = stats.get(STAGES, {})
    return {
        name: StageStatus(done=counts[name]["in"], total=counts[name]["in"], tasks=None, unit=unit(name))
        for name in sorted(counts, key=[*IN_ORDER, *counts].index)
    }


def _rejected(place: Place, files: Mapping[str, int], stats: Any) -> dict[str, int]:
    """From the statistics where there are some, else from the receipts."""
    total: Counter[str] = Counter()
    if stats is not None:
        for stage in stats.get(STAGES, {}).values():
            total.update(stage["rejected"])
        return dict(total)
    for file in files:
        if "/receipts/" in file and (receipt := _json(place, file)) is not None:
            counts = receipt.get("counts", {})
            total.update({reason.removeprefix(REJECTED): count for reason, count in counts.items() if reason.startswith(REJECTED)})
        elif file.startswith(f"{BUILD}/aside/") and file.endswith(".json") and (aside := _json(place, file)) is not None:
            total.update(str(reason) for _, reason in aside["rows"])
    return dict(total)


def _writer(place: Place) -> str | None:
    """Who holds the lock of a folder, or the lease of another place."""
    if place.folder is None:
        lease = lease_of(place)
        return f"{lease.host}, pid {lease.pid}" if lease is not None and lease.fresh else None
    pid = holder(place)
    return None if pid is None else f"pid {pid}"


def _json(place: Place, file: str) -> Any:
    try:
        return json.loads(place.read(file))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
