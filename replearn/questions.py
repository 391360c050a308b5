"""What people ask about a study, and tools: the commands that are no step of the workflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from replearn.errors import UserError

app = typer.Typer()

QUESTIONS = "Questions and tools"
DEFAULT_STUDY = Path("config/config.yaml")
BANDED_STUDY = Path("config/studies/cifar10.yaml")

StudyArgument = Annotated[Path, typer.Argument(help="A study in YAML.")]


@app.command(rich_help_panel=QUESTIONS)
def validate(study: StudyArgument) -> None:
    """Check a study and say what it would run."""
    from replearn.config import load_study
    from replearn.planning import plan

    planned = plan(load_study(study))
    typer.echo(f"{study}: {len(planned.runs)} runs on {', '.join(planned.datasets)}")
    for run in planned.runs:
        typer.echo(f"  {run.config.key}  {run.config.id}")
    for skipped in planned.skipped:
        typer.echo(f"  skipped       {skipped.dataset}/{skipped.method}: {skipped.reason}")


@app.command("why", rich_help_panel=QUESTIONS)
def explain(
    run: Annotated[
        str,
        typer.Argument(help="Its directory, its key, or <dataset>/<method>/<variant>/seed-<seed>."),
    ],
    study: Annotated[Path, typer.Option(help="The study in YAML.")] = DEFAULT_STUDY,
) -> None:
    """Say what is finished of a run, what would run, and what has changed since."""
    from replearn.why import why

    for line in why(study, run):
        typer.echo(line)


@app.command("check-bands", rich_help_panel=QUESTIONS)
def check_bands(
    study: Annotated[
        Path, typer.Argument(help="plan.json of a finished study, or the study in YAML.")
    ] = BANDED_STUDY,
) -> None:
    """Compare a study on CIFAR-10 with published accuracies; exit status 1 if one lies outside its band."""
    from replearn.bands import check, published, words

    found = check(study, published())
    for line in words(found):
        typer.echo(line)
    if all(item.state in ("not run", "other conditions") for item in found):
        raise UserError(
            "no band could be judged", where=str(study), hint="Finish that study first."
        )
    raise typer.Exit(any(item.outside for item in found))


@app.command(rich_help_panel=QUESTIONS)
def retry(study: StudyArgument) -> None:
    """Forget a study's recorded failures, so that the next start tries those runs again."""
    from replearn.config import load_study
    from replearn.failures import forget
    from replearn.planning import plan

    planned = plan(load_study(study))
    forgotten = [
        run.config.id
        for run in planned.runs
        if forget(run.layout.root, run.layout.features, run.layout.evaluation)
    ]
    for name in forgotten:
        typer.echo(f"forgotten: {name}")
    typer.echo(f"{study}: {len(forgotten)} of {len(planned.runs)} runs will be tried again")


@app.command(rich_help_panel=QUESTIONS)
def methods() -> None:
    """List the methods with their supervision and their options."""
    from replearn.methods.options import METHODS

    for name, options in METHODS.items():
        kind = options.supervision if options.trained else "reference, not trained"
        paper = f"  {options.paper}" if options.paper else ""
        typer.echo(f"{name:14s}{kind}{paper}")
        for option, field in options.model_fields.items():
            if option != "method":
                typer.echo(f"    {option} = {field.default}")


@app.command("new-method", rich_help_panel=QUESTIONS)
def new_method(
    name: Annotated[str, typer.Argument(help="In lower case, for instance vicreg.")],
) -> None:
    """Write the skeleton of a new method and register it."""
    from replearn.skeleton import write_skeleton

    for line in write_skeleton(name):
        typer.echo(line)


@app.command(rich_help_panel=QUESTIONS)
def schema() -> None:
    """Print the JSON schema of a study, for editors that complete and check YAML."""
    import json

    from replearn.schema import study_schema

    typer.echo(json.dumps(study_schema(), indent=2))
