"""One published attack, one file."""
