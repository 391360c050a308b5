"""Speed, measured side by side: each module here is one command, `python -m benchmarks.NAME`."""
