"""Searches that every modality with gradients can use; a plugin lists them under its own name."""
