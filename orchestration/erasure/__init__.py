"""Erasure: a person goes from the warehouse, from what was published of it, and from the files."""
