"""The mapping that ships with the package: numbers printed by `python experiments/quality.py fit`,
rounded to four places, from the rows of experiments/rows/quality.csv (docs/quality.md).
"""

from fewmask.quality.estimate import Prior

PRIOR = Prior(
    offset=0.4085,
    weights=(0.573, 0.0, -0.3612, 0.0, -0.9291, -1.6229, -0.1179),
    low=-1.2804,
    high=1.3349,
)
