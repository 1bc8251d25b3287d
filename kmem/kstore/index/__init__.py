"""Text → the ids of the memories to read: embedders, FAISS index, tuned search."""
