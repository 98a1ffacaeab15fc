"""The text benchmark: two victims, one table of synonyms, every library on the identical lattice."""
