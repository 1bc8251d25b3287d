"""A prefix in an object store (S3, GCS, Azure), through obstore: range requests side by side, conditional creates."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import Buffer

from kmem.errors import ConfigError, CorruptBankError, MissingDependencyError, PlaceError
from kmem.kstore.place.protocol import RESTORE, Span

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
    from obstore.store import from_url
except ImportError as error:
    raise MissingDependencyError("A bank at a URL needs obstore, which is not installed: pip install 'kmem[s3]'.") from error

COALESCED_BYTES = 128 << 10
"""Ranges of one file this near to each other are one request: at most a memory of 90 KiB is read in vain."""
RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
MAX_REQUESTS = 32
"""Files asked at the same time."""
FEW = 8
"""So many files are asked for one by one."""
PAGE = 1000
"""Names that a store lists at once."""


class RemotePlace:
    """`scheme://bucket/prefix`; credentials, region and endpoint come from the environment, as the store's own tools take them.

    Raises ConfigError for a URL that obstore doesn't understand. What goes wrong on the way to the store raises PlaceError.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        if urlsplit(self._url).scheme == "file":
            raise ConfigError(f"{url}: for a folder of this machine give its plain path.")
        if not urlsplit(self._url).netloc:
            raise ConfigError(f"{url} names no bucket; write it like s3://bucket/bank.")
        try:
            self._store: Any = from_url(self._url, client_options={"allow_http": True}, retry_config=RETRIES)
        except (BaseError, ValueError) as error:
            scheme = urlsplit(self._url).scheme
            raise ConfigError(f"{url} is no place for a bank: {scheme}:// is not s3://, gs:// or az://.") from error
        self._threads = ThreadPoolExecutor(MAX_REQUESTS, thread_name_prefix="kmem-remote")

    @property
    def folder(self) -> None:
        return None

    def __str__(self) -> str:
        return self._url

    def at(self, file: str) -> str:
        return f"{self._url}/{file}"

    def sizes(self, below: str = "") -> Mapping[str, int]:
        try:
            return {entry["path"]: entry["size"] for page in obstore.list(self._store, prefix=below or None) for entry in page}
        except BaseError as error:
            raise self._failed("list", below, error) from error

    def lengths(self, files: Iterable[str]) -> Mapping[str, int]:
        """By listing, page after page, each from the next of these files on; few are asked for one by one, and so is what no page had.

        Stores list in the order of names, all but one kind of bucket of S3's; there it takes longer.
        """
        wanted = sorted(files)
        found = {} if len(wanted) <= FEW else self._listed(wanted)
        rest = [file for file in wanted if file not in found]
        return found | {file: size for file, size in zip(rest, self._threads.map(self._length, rest), strict=True) if size is not None}

    def read(self, file: str) -> bytes:
        try:
            return bytes(obstore.get(self._store, file).bytes())
        except BaseError as error:
            raise self._failed("read", file, error) from error

    def replace(self, file: str, data: Buffer) -> None:
        try:
            obstore.put(self._store, file, bytes(data))
        except BaseError as error:
            raise self._failed("write", file, error) from error

    def replace_stream(self, file: str, parts: Iterable[Buffer]) -> None:
        try:
            obstore.put(self._store, file, (bytes(part) for part in parts), use_multipart=True)
        except BaseError as error:
            raise self._failed("write", file, error) from error

    def create(self, file: str, data: Buffer) -> None:
        try:
            obstore.put(self._store, file, bytes(data), mode="create")
        except (AlreadyExistsError, PreconditionError) as error:
            raise FileExistsError(self.at(file)) from error
        except BaseError as error:
            raise self._failed("create", file, error) from error

    def remove(self, files: Iterable[str]) -> None:
        for file in files:
            try:
                obstore.delete(self._store, file)
            except FileNotFoundError:
                continue
            except BaseError as error:
                raise self._failed("delete", file, error) from error

    def hold(self, file: str) -> Callable[[], None]:
        """Nothing can be said in an object store; what pruning asks there is told by a person."""
        return lambda: None

    def remove_unless_held(self, file: str) -> bool:
        return False

    def fetch(self, spans: Sequence[Span], *, cold: bool = False) -> None:
        by_file: dict[str, list[Span]] = {}
        for span in spans:
            by_file.setdefault(span.file, []).append(span)
        list(self._threads.map(self._fetch_of_one, by_file.values()))

    def tidy(self) -> None:
        """Nothing is ever there in part."""

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    def _listed(self, wanted: Sequence[str]) -> dict[str, int]:
        """What the store's pages have of the sorted names `wanted`."""
        found, known, at, last = dict[str, int](), set(wanted), 0, ""
        try:
            while at < len(wanted):
                start = max(last, wanted[at][:-1])  # a listing begins behind the name that it is given
                page = next(obstore.list(self._store, offset=start, chunk_size=PAGE), [])
                found |= {entry["path"]: entry["size"] for entry in page if entry["path"] in known}
                if len(page) < PAGE:
                    break
                last = max(last, *(entry["path"] for entry in page))
                at = bisect_right(wanted, last)
        except BaseError as error:
            raise self._failed("list", "", error) from error
        return found

    def _length(self, file: str) -> int | None:
        try:
            return int(obstore.head(self._store, file)["size"])
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise self._failed("ask for", file, error) from error

    def _fetch_of_one(self, spans: Sequence[Span]) -> None:
        file = spans[0].file
        starts = [span.start for span in spans]
        lengths = [len(span.out) for span in spans]
        try:
            found = obstore.get_ranges(self._store, file, starts=starts, lengths=lengths, coalesce=COALESCED_BYTES)
        except FileNotFoundError:
            raise CorruptBankError(f"{self.at(file)} is missing; {RESTORE}") from None
        except BaseError as error:
            actual = self.sizes(file.rpartition("/")[0]).get(file)
            if actual != spans[0].file_bytes:
                raise CorruptBankError(f"{self.at(file)} has {actual} bytes where {spans[0].file_bytes} were written; {RESTORE}") from error
            raise self._failed("read", file, error) from error
        for span, data in zip(spans, found, strict=True):
            if len(data) != len(span.out):
                raise CorruptBankError(f"{self.at(file)} gave {len(data)} of {len(span.out)} bytes at {span.start}; {RESTORE}")
            span.out[:] = memoryview(data)

    def _failed(self, what: str, file: str, error: Exception) -> PlaceError:
        return PlaceError(f"Could not {what} {self.at(file)} ({_reason(str(error))}); check address, credentials and network.")


def _reason(said: str) -> str:
    """The end of what obstore says, which is what the store or the network answered; the beginning is about its own retries."""
    if "NoSuchBucket" in said or ("404" in said and "list request" in said):
        return "there is no such bucket"
    if "onnection refused" in said:
        return "nothing answers at that address: is AWS_ENDPOINT_URL right?"
    answered = (said or "no reason given").split("Debug source:")[0].rpartition(" - ")[2]
    return " ".join(answered.split()).rstrip(".")[-160:]
