"""`python -m replearn`: the same command line wherever the package can be imported."""

from replearn.cli import main

main()
