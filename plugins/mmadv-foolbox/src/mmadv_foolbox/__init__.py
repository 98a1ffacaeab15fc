"""foolbox's attacks under mmadv's engine: `mmadv.attack(model, x, y, "foolbox.ddn", norm="l2")`."""
