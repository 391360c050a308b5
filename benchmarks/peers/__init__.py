"""replearn against lightly: SimCLR on the same image files, side by side. `python -m benchmarks.peers`."""
