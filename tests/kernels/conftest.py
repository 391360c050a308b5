"""The interpreter changes torch for good: only who asks for it with `-p` may import it."""

collect_ignore = ["interpreter.py"]
