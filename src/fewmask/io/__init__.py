"""The only door to files: guarded readers, atomic writers, never an invented affine."""
