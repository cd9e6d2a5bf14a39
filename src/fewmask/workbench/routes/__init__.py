"""Addresses of the server, a file per subject; each gives a router that `make_app` takes in."""
