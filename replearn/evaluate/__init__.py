"""Evaluation of frozen features: pure functions on arrays, and the files they read and write."""
