"""Run by an interpreter that has MedPy: scores of a pair of masks, and what they took.

python medpy_scores.py PAIR.npz D H W
"""

import json
import sys
import time

import numpy as np
from medpy.metric import binary

pair = np.load(sys.argv[1])
pred, truth = pair["pred"] > 0, pair["truth"] > 0
spacing = [float(word) for word in sys.argv[2:]]
wall, cpu = time.perf_counter(), time.process_time()
found = (
    binary.dc(pred, truth),
    binary.hd95(pred, truth, voxelspacing=spacing),
    binary.assd(pred, truth, voxelspacing=spacing),
)
cost = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
print(" ".join(f"{value:.4g}" for value in found))
print(json.dumps(cost))
