"""The commit point of a bank: numbered manifests, each written last, exclusively and never changed. The highest is the bank.

A manifest is canonical JSON with a `checksum` (sha256 of the canonical JSON of all other fields), then a blank line: the end
mark. The rule is the same in every format version, so damage is told from a newer format.

No place ever shows a manifest in part (`Place.create`), so one that can't be used is damage to a bank that was once whole, a cut
included: CorruptBankError, and no silent step back to older contents.
"""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from kmem.errors import BankExistsError, ConfigError, CorruptBankError, FormatVersionError, PlaceError
from kmem.kstore.manifest import Manifest
from kmem.kstore.place import Place
from kmem.kstore.stored import require_sizes

MANIFESTS = "manifests"

_NAME = re.compile(r"\d{6,}\.json")


def canonical_json(data: Any) -> bytes:
    """The one spelling of `data`: sorted keys, one field a line, ASCII, a final newline. Raises ConfigError for what JSON can't hold."""
    try:
        plain = json.loads(json.dumps(data, allow_nan=False))
        return (json.dumps(plain, sort_keys=True, indent=1) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"A manifest can only hold plain JSON values: {error}.") from error


def manifest_file(number: int) -> str:
    """Path of a manifest relative to the bank."""
    return f"{MANIFESTS}/{number:06d}.json"


def manifest_numbers(place: Place) -> list[int]:
    """Numbers of all manifests present, ascending; empty where there is no bank. Raises CorruptBankError for a file where the folder should
    be, or a folder where a manifest should.
    """
    if place.folder is not None and (place.folder / MANIFESTS).is_file():
        raise CorruptBankError(
            f"{place.at(MANIFESTS)} is a file where a folder of manifests should be: delete it, and restore the folder from a copy."
        )
    for path in () if place.folder is None else (place.folder / MANIFESTS).glob("*.json"):
        if path.is_dir():
            raise CorruptBankError(f"{path} is a folder where a manifest should be: move it away, and restore the file from a copy.")
    names = [file.removeprefix(f"{MANIFESTS}/") for file in place.sizes(MANIFESTS)]
    return sorted(int(name.removesuffix(".json")) for name in names if _NAME.fullmatch(name))


def commit(place: Place, manifest: Manifest, require_held: Callable[[], None]) -> None:
    """Make this state the bank. Raises CorruptBankError when a file of it is not there whole, BankExistsError as `write_manifest` does.

    require_held: what `locked` gave; asked last, so that nobody commits into what is another one's by now.
    """
    require_sizes(place, manifest.files)
    require_held()
    write_manifest(place, manifest)


def write_manifest(place: Place, manifest: Manifest) -> None:
    """Write a manifest. Raises BankExistsError when another writer took this number first.

    It is not retried under the next number: this manifest describes the whole bank and would undo the other's commit.
    """
    data = manifest.to_dict()
    content = canonical_json(data | {"checksum": hashlib.sha256(canonical_json(data)).hexdigest()}) + b"\n"
    try:
        place.create(manifest_file(manifest.number), content)
    except FileExistsError:
        raise _overtaken(place, manifest.number) from None


def require_latest(place: Place, manifest: Manifest) -> None:
    """Raise BankExistsError unless `manifest` still is the bank. Ask once the place is locked, before anything is written:
    the names of new files follow from the manifest, so that a writer which was overtaken would write over files of a committed state.
    """
    newest = manifest_numbers(place)[-1]
    if newest != manifest.number:
        raise _overtaken(place, newest)


def read_manifest(place: Place, number: int) -> Manifest:
    """One manifest.

    Raises FileNotFoundError, CorruptBankError when it was altered, FormatVersionError when this kmem is too old for it.
    """
    try:
        raw = place.read(manifest_file(number))
    except (PlaceError, CorruptBankError, FileNotFoundError):
        raise
    except OSError as error:
        raise _damaged(place, number, f"it can't be read ({error.strerror})") from error
    try:
        data = json.loads(raw.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise _damaged(place, number, f"it is not JSON ({error})") from error
    if (spoilt := _spoilt(raw, data)) is not None:
        raise _damaged(place, number, spoilt)
    try:
        manifest = Manifest.from_dict(data)
    except FormatVersionError:
        raise
    except ValueError as error:
        raise _damaged(place, number, str(error).rstrip(".")) from error
    if manifest.number != number:
        raise _damaged(place, number, f"number is {manifest.number}")
    return manifest


def latest_manifest(place: Place) -> Manifest | None:
    """The manifest that is the bank, None where none was ever committed. Raises as `read_manifest` does."""
    while numbers := manifest_numbers(place):
        try:
            return read_manifest(place, numbers[-1])
        except FileNotFoundError:  # compacted away since it was listed: there is a newer one
            if manifest_numbers(place) == numbers:
                raise
    return None


def held_manifest(place: Place) -> tuple[Manifest | None, Callable[[], None]]:
    """`latest_manifest`, held so that no compaction deletes its files, and the function that lets go of it."""
    while True:
        manifest = latest_manifest(place)
        if manifest is None:
            return None, lambda: None
        try:
            return manifest, place.hold(manifest_file(manifest.number))
        except FileNotFoundError:  # compacted away just now: there is a newer one
            continue


def _spoilt(raw: bytes, data: Any) -> str | None:
    """What is wrong with a manifest's text, which must be the canonical spelling, too, so that not even a blank can change unseen."""
    if type(data) is not dict or "checksum" not in data or canonical_json(data) + b"\n" != raw:
        return "it is not spelled as kmem writes it"
    expected = hashlib.sha256(canonical_json({key: value for key, value in data.items() if key != "checksum"})).hexdigest()
    return None if data["checksum"] == expected else f"its contents have the checksum {expected}, it says {data['checksum']}"


def _overtaken(place: Place, number: int) -> BankExistsError:
    return BankExistsError(
        f"{place.at(manifest_file(number))} exists: another writer committed to this bank; "
        "open the bank again and repeat the change on top of it."
    )


def _damaged(place: Place, number: int, reason: str) -> CorruptBankError:
    """With a way out that loses nothing unsaid: only some manifests have one before them, or a build that would write them again."""
    older = [other for other in manifest_numbers(place) if other < number]
    if older:
        way_out = f"restore it from a copy, or delete it to go back to {manifest_file(older[-1])}, without what was changed since"
    elif number == 1:
        way_out = "restore it from a copy, or delete it and repeat the kmem build with --resume, which writes it again"
    else:
        way_out = "restore it from a copy: no other file says which memories this bank holds"
    return CorruptBankError(f"{place.at(manifest_file(number))} was altered: {reason}; {way_out}.")
