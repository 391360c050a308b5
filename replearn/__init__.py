"""replearn: compare representation-learning methods and trust the number."""

__version__ = "0.1.0"
