"""Programs that are not ours, driven with our budgets and scored like everyone else."""
