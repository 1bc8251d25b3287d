"""Wire kbuild → encoder → kstore: from sources to a bank, resumable shard by shard."""
