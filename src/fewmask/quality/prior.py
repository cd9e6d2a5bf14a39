"""The mapping that ships with the package: numbers printed by `python experiments/quality.py fit`,
rounded to four places, from the rows of experiments/rows/quality.csv (docs/quality.md).
"""

from fewmask.quality.estimate import Prior

PRIOR = Prior(
    offset=0.4512,
    weights=(0.582, 0.0359, -0.3215, 0.0, -1.0344, -1.3718, -0.1483),
    low=-1.6555,
    high=1.2563,
)
