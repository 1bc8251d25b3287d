"""Every error kmem raises on purpose, and its warnings. Each error also subclasses the builtin a caller would already catch.

The message is one sentence for a person: what is wrong, which value, what to do. The CLI prints it and exits with 2.
"""


class KmemError(Exception):
    """Base of all kmem errors."""


class ConfigError(KmemError, ValueError):
    """An option has a value that can't be used."""


class WrongTypeError(KmemError, TypeError):
    """An argument that is not the kind of object it should be."""


class UnknownNameError(KmemError, ValueError):
    """A selector, quantiser, profile, corpus or model name that is not registered."""

    def __init__(self, kind: str, name: str, available: "list[str] | tuple[str, ...]") -> None:
        super().__init__(f"Unknown {kind} {name!r}; there are {', '.join(sorted(available))}.")


class UnknownRuleError(UnknownNameError):
    """A rule for documents that does not exist; names the nearest ones that do."""

    def __init__(self, name: str, available: "list[str]") -> None:
        from difflib import get_close_matches

        nearest = get_close_matches(name, available, n=3)
        said = f"the nearest are {', '.join(nearest)}" if nearest else f"there are {', '.join(sorted(available))}"
        KmemError.__init__(self, f"Unknown rule {name!r}; {said}.")


class UntrainedQuantiserError(KmemError, ValueError):
    """A quantiser that has to be trained on memories, asked for before it was."""


class SourceError(KmemError, ValueError):
    """A source document can't be read as what it claims to be."""


class UnreadableError(SourceError):
    """A file or record that can't be read, beside others that can. `reason` is short and counted; `sample` is how it begins."""

    def __init__(self, reason: str, message: str, sample: str = "") -> None:
        super().__init__(message)
        self.reason, self.sample = reason, sample


class SourceNotFoundError(KmemError, FileNotFoundError):
    """A source path, glob or named corpus that yields nothing."""


class MissingDependencyError(KmemError, ImportError):
    """A package that an option needs is not installed."""


class ScorerError(KmemError, ValueError):
    """A quality scorer's files that are missing, altered, or can't be used as asked."""


class CheckpointError(KmemError, OSError):
    """A file of learnt weights that is damaged, or holds those of something else."""


class ModelNotFoundError(KmemError, FileNotFoundError):
    """A model name or path that can't be loaded."""


class UnsupportedModelError(KmemError, TypeError):
    """A model (or a way of running it) that explicit memories can't work with."""


class BankNotFoundError(KmemError, FileNotFoundError):
    """The path holds no bank."""


class BankExistsError(KmemError, FileExistsError):
    """The path already holds a bank, or something that is not one."""


class CorruptBankError(KmemError, OSError):
    """A file of the bank is missing, truncated or altered."""


class PlaceError(KmemError, OSError):
    """An object store that can't be reached, or refuses."""


class FormatVersionError(KmemError, ValueError):
    """The bank was written in a format version this kmem does not read."""


class IdentityMismatchError(KmemError, ValueError):
    """The bank was written by another model, tokenizer, bracket, budget or selector."""


class MemoryNotFoundError(KmemError, KeyError):
    """An id that the bank does not hold."""

    def __str__(self) -> str:  # KeyError would print the repr of the sentence
        return str(self.args[0]) if self.args else ""


class MemoryNotEncodedError(KmemError, LookupError):
    """A memory of a bank built without encoding, asked for before it was encoded. `ids` are all that were missing."""

    def __init__(self, place: object, ids: "tuple[int, ...]") -> None:
        shown = ", ".join(map(str, ids[:3])) + (", …" if len(ids) > 3 else "")
        what = f"Memory {shown} of {place} is" if len(ids) == 1 else f"{len(ids)} memories of {place} ({shown}) are"
        super().__init__(f"{what} not encoded yet: encode what is missing with kmem encode.")
        self.ids = ids


class AttachError(KmemError, RuntimeError):
    """A bank can't be attached to this model now."""


class NotStoredWarning(UserWarning):
    """What was encoded on demand can't be stored in the bank, so it is encoded again in every session."""


class BuildError(KmemError, RuntimeError):
    """A stage of a build that can't go on, and no document that is to blame for it."""


class WorkersLostError(KmemError, ConnectionError):
    """The scheduler of a cluster, or all of its workers, are gone."""


class MeasurementError(KmemError, RuntimeError):
    """A benchmark whose run was not what its figure would be about."""
