"""The workbench: outline, train, look and correct, in a browser on your own machine."""
