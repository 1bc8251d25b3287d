"""Texts that the corpus has already: exact copies and near ones, by MinHash and locality-sensitive hashing, across all partitions."""
