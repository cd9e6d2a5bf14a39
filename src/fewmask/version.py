"""The version of the package, importable by every layer."""

__version__ = "0.1.0"
