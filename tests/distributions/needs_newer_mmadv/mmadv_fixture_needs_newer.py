"""A plugin whose distribution asks for an mmadv of the future; importing it would tell."""

print("imported a plugin that cannot work here")
