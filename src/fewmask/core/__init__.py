"""The nouns of fewmask: scans, label maps, recipes, budgets, batches. No files, no networks."""
