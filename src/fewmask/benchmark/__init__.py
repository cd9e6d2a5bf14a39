"""Whole studies from the rooms below: score a run, the demo. Above report, below cli."""
