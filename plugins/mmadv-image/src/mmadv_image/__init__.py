"""The image modality of mmadv."""
