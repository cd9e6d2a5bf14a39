"""What `benchmarks/gpu.py` measures: is it right (`check`), how fast (`speed`), how well it learns
(`learn`).
"""
