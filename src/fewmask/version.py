"""The version of the package, importable by every layer."""

__version__ = "0.2.0"
