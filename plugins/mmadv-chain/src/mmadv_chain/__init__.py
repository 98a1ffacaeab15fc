"""Chained systems: victims one after another as one victim."""
