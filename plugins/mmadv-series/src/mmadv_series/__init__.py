"""Time series for mmadv: an example of a plugin by others."""
