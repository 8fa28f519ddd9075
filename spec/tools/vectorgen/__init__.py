"""Generators of spec/vectors, one module per file of vectors."""
