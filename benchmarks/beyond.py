"""Print the pins of one lock file that another one lacks: `python benchmarks/beyond.py HELD WANTED`.

Part of `make lock`; it runs before there is an environment.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def pins(text: str) -> dict[str, str]:
    """Each package of a lock file with its pin and hashes as they stand there."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    return {block.partition("==")[0]: block for block in blocks if "==" in block}


def main() -> None:
    held, wanted = (pins(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:])
    print("".join(block for package, block in wanted.items() if package not in held), end="")


if __name__ == "__main__":
    main()
