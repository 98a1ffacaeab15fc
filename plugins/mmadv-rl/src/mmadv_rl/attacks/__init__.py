"""Attacks on observations, one file for each."""
