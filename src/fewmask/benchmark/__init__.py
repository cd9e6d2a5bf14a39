"""Whole jobs made of the layers below: score a run, the demo. Above report, below cli."""
