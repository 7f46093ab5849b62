"""Which version this is: that of the installed distribution, of all four packages."""

from importlib import metadata

__version__ = metadata.version("opt-gym")
