"""Pure functions from embeddings to a number to be made small. One file per family."""
