"""The author kit: the laws as checks, closed-form victims, and a pytest plugin."""

from mmadv.testing.victims import Linear, linear_victim

__all__ = ["Linear", "linear_victim"]
