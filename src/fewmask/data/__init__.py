"""From a prepared dataset to batches. The label gate is here: no budget, no mask."""
