"""`replearn new-method`: the file, the options and the recipe block a new method starts from."""

from __future__ import annotations

import re
from pathlib import Path

from replearn.errors import UserError
from replearn.jsonfile import write_text
from replearn.methods.options import METHODS

ALGORITHM = '''"""{title}: one sentence that says what it does (Authors, year).

    L = the loss as the paper writes it
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from replearn.distributed import gather
from replearn.encoders import EncoderShape
from replearn.heads import mlp
from replearn.methods.base import Batch, Loss, Method, check_embeddings, full_precision
from replearn.methods.options import {title}Options


@full_precision
def {name}_loss(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared distance of the two views' embeddings [n, d]; put the paper's equation here."""
    check_embeddings("{name}_loss", a, b)
    return (a - b).square().sum(1).mean()


class {title}(Method):
    """How the views pass through the networks."""

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: {title}Options) -> None:
        super().__init__(encoder, shape)
        self.projector = mlp(shape.width, options.hidden, options.output, layers=2)

    def loss(self, batch: Batch) -> Loss:
        _, z = self.embed(torch.cat(batch.views))
        assert z is not None
        a, b = z.chunk(2)
        return Loss({name}_loss(gather(a), gather(b)))
'''

OPTIONS = """class {title}Options(MethodOptions):
    method: Literal["{name}"] = "{name}"
    implementation: ClassVar[str] = "replearn.methods.{name}:{title}"
    views: ClassVar[int | None] = 2
    hidden: Width = 2048
    output: Width = 128


"""

RECIPES = {
    "small": """  {name}:
    source: not tuned yet
    options: {{hidden: 256, output: 64}}
    optimizer: *adamw
    views: [*crop_and_distort, *crop_and_distort]
""",
    "cifar": """  {name}:
    source: not tuned yet
    optimizer: {{name: sgd, lr: 0.06, weight_decay: 0.0005}}
    views: [*symmetric, *symmetric]
""",
    "paper": """  {name}:
    source: not tuned yet
    optimizer: {{name: lars, lr: 0.3, weight_decay: 0.000001, trust: 0.001}}
    views: [*simclr_view, *simclr_view]
""",
}


def write_skeleton(name: str, package: Path = Path(__file__).parent) -> list[str]:
    """Write `methods/<name>.py`, register its options and give it a block in every recipe.

    Args:
        name: the method's name, in lower case.
        package: directory of the package to write into.

    Returns:
        Lines that say what was written and what to do next.

    Raises:
        UserError: the name is taken or is not a lower-case identifier.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(
            f"'{name}' is not a name for a module", hint="Lower-case letters, digits and _."
        )
    if name in METHODS:
        raise UserError(f"the method '{name}' exists already", where=METHODS[name].implementation)
    title = "".join(part.capitalize() for part in name.split("_"))
    algorithm = package / "methods" / f"{name}.py"
    registry = package / "methods" / "options.py"
    if algorithm.exists():
        raise UserError("the file exists already", where=str(algorithm))

    write_text(algorithm, ALGORITHM.format(name=name, title=title))
    text = registry.read_text(encoding="utf-8")
    before, table, after = text.partition("METHODS: dict[str, type[MethodOptions]] = {\n")
    entries, closing, rest = after.partition("}\n")
    entry = f'    "{name}": {title}Options,\n'
    declared = before + OPTIONS.format(name=name, title=title)
    write_text(registry, declared + table + entries + entry + closing + rest)
    written = [str(algorithm), str(registry)]
    for recipe, block in RECIPES.items():
        path = package / "recipes" / f"{recipe}.yaml"
        write_text(path, path.read_text(encoding="utf-8") + block.format(name=name))
        written.append(str(path))
    return [
        *(f"wrote {path}" for path in written),
        f"Next: write the loss in methods/{name}.py, add '{name}:' to a study's methods,",
        "and run: pytest tests/methods (the contract tests already include it)",
    ]
