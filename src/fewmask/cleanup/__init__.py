"""Clean-up of label maps: parts and holes, by a rule that the labelled scans taught. No torch."""

from fewmask.cleanup.learn import Evidence, learn_rule
from fewmask.cleanup.rule import Change, Cleaned, Cleaning, CleanupRule, StructureRule, clean

__all__ = [
    "Change",
    "Cleaned",
    "Cleaning",
    "CleanupRule",
    "Evidence",
    "StructureRule",
    "clean",
    "learn_rule",
]
