"""What `benchmarks/peers.py` is made of: a file per kind of work, and what all of them share."""
