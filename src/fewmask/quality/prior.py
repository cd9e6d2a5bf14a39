"""The mapping that ships with the package: numbers printed by `python experiments/quality.py fit`,
from the rows of experiments/rows/quality.csv (docs/quality.md). Never written by hand.
"""

from fewmask.quality.estimate import Prior

PRIOR = Prior(
    offset=0.0,
    weights=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    low=-2.0,
    high=1.0,
)
