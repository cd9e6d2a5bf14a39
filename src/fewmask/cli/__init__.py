"""The command line: one file per verb, each short, no logic. Heavy imports wait inside
the verbs.
"""

from fewmask.cli.app import main

__all__ = ["main"]
