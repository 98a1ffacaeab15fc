"""The text modality of mmadv."""
