"""Storing what a bank built without encoding still lacks: the record of one memory after another, each whole or not at all."""

from kmem.errors import ConfigError
from kmem.kstore.bank import Bank
from kmem.memories import UNREAD_POSITION, Memories


def store_memories(bank: Bank, memories: Memories) -> None:
    """Store the records of memories of a bank that was built without encoding; what is stored already stays as it is.

    Needs no lock: a kill leaves a record or none; of two writers of one the first one's keys and values stay, and either one's slot
    positions, which are equal where both ran the same model on the same kind of machine. Raises IdentityMismatchError when another
    model wrote them, MemoryNotFoundError for an id that is not in the bank, ConfigError when they have other lengths than their texts
    or can't be held by the bank's quantiser, OSError where the place can't be written.
    """
    bank.identity.require_compatible(memories.spec.identity)
    if bool((memories.slot_position == UNREAD_POSITION).any()):
        raise ConfigError("These memories were read without their slot positions; read them with positions=True to store them.")
    lengths = bank.lengths(memories.ids).tolist()
    for memory_id, expected, actual in zip(memories.ids, lengths, memories.lengths.tolist(), strict=True):
        if expected != actual:
            raise ConfigError(f"Memory {memory_id} has {actual} tokens where {bank.place} records {expected}: its text was cut elsewhere.")
    records, positions = bank.quantiser.encode(memories.kv), memories.slot_position.cpu().numpy()
    for place, record, slots in zip(bank.record_files(memories.ids), records, positions, strict=True):
        if place is not None:
            files, row = place
            files.write(row, record, slots)
