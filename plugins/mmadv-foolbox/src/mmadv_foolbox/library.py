"""foolbox itself, imported without the deprecations that it runs into in its own imports."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import foolbox

__all__ = ["foolbox"]
