"""From a folder of scans and masks to a prepared dataset: find, pair, check, split, write."""
