"""The `replearn` command: what the workflow's rules call, and what people ask about a study."""

from __future__ import annotations

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from replearn import collector, questions
from replearn.errors import UserError, understood
from replearn.launch import leads

app = typer.Typer(
    help="Compare representation-learning methods on frozen features, and trust the number.\n\n"
    "A whole study runs through Snakemake: snakemake --cores 8 --resources gpu=2. "
    "The commands below are its single steps, and questions about a study.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

TELLING_SECONDS = 5.0
STEPS = "Steps of the workflow"

ConfigArgument = Annotated[Path, typer.Argument(help="config.json of the run.")]
DatasetOption = Annotated[Path, typer.Option(help="manifest.json of the prepared dataset.")]
EncoderOption = Annotated[Path, typer.Option(help="encoder.safetensors of the run.")]
TeacherOption = Annotated[
    Path | None,
    typer.Option(
        exists=True, help="encoder.safetensors of the run to learn from, config.json beside it."
    ),
]
FeaturesOption = Annotated[Path, typer.Option(help="Directory of the feature files.")]
OutputOption = Annotated[Path, typer.Option(help="Where the results go.")]
GpusOption = Annotated[
    int, typer.Option(min=0, help="GPUs granted to the job; with 0 it runs on the CPU.")
]
ThreadsOption = Annotated[
    int, typer.Option(min=1, help="CPU threads; a result is bit-identical at equal threads.")
]
LogOption = Annotated[
    Path | None, typer.Option(help="Where this output goes; a recorded failure points there.")
]


@app.command(rich_help_panel=STEPS)
def prepare(
    request: Annotated[Path, typer.Argument(help="JSON file with a dataset's name and options.")],
    output: OutputOption,
) -> None:
    """Fetch a dataset and bring it into the prepared format."""
    from replearn import data
    from replearn.jsonfile import read_json

    wanted = read_json(request)
    options = data.SOURCES[wanted["options"]["source"]].model_validate(wanted["options"])
    data.prepare(wanted["name"], options, output, raw=output.parent.parent / "raw")


@app.command(rich_help_panel=STEPS)
def pretrain(
    config: ConfigArgument,
    dataset: DatasetOption,
    output: OutputOption,
    gpus: GpusOption = 1,
    threads: ThreadsOption = 1,
    teacher: TeacherOption = None,
    log: LogOption = None,
) -> None:
    """Train one method with one seed; resumes from its checkpoint if there is one.

    On several GPUs the batch is shared among them. torchrun --nproc-per-node N -m replearn pretrain …
    does the same by hand, on CPUs too.
    """
    from replearn import launch
    from replearn.config import read_run_config
    from replearn.devices import lease, visible_devices
    from replearn.failures import carry_out
    from replearn.locks import exclusive
    from replearn.planning import layout_of

    run = read_run_config(config)
    layout = layout_of(run, output)

    def train(device: Literal["cpu", "cuda"]) -> bool:
        _limit_threads(threads)
        from replearn.data.prepared import open_prepared
        from replearn.pretrain import pretrain as run_pretrain

        def work() -> None:
            run_pretrain(run, open_prepared(dataset), layout, device, teacher)

        busy = f"another process is training {run.id} here; two would write the same files"
        lock = exclusive(layout.state / "lock", busy=busy) if launch.leads() else nullcontext()
        with lock:
            outputs = (layout.encoder, layout.history, layout.pretrain)
            return carry_out(run, work, outputs, after=teacher, log=log)

    if launch.is_rank():
        on_cpu = run.device == "cpu" or not gpus or not visible_devices()
        with launch.joined("cpu" if on_cpu else "cuda") as device:
            if not train(device):
                # The other ranks wait for this one; its end is the launcher's sign to end them.
                sys.exit(launch.RECORDED)
        return
    with lease(run.device, gpus=gpus, jobs_per_gpu=run.jobs_per_gpu) as leased:
        ranks = launch.shareable(run.training.batch_size, len(leased.names))
        if ranks > 1 and run.options.trained:
            launch.run_ranks(sys.argv[1:], ranks)
        else:
            train(leased.device)


@app.command(rich_help_panel=STEPS)
def embed(
    config: ConfigArgument,
    dataset: DatasetOption,
    encoder: EncoderOption,
    output: OutputOption,
    gpus: GpusOption = 1,
    threads: ThreadsOption = 1,
    log: LogOption = None,
) -> None:
    """Write a trained encoder's features of every split."""
    from replearn.config import read_run_config
    from replearn.devices import lease
    from replearn.failures import carry_out

    run = read_run_config(config)
    with lease(run.device, gpus=gpus, jobs_per_gpu=run.jobs_per_gpu) as leased:
        _limit_threads(threads)
        from replearn.data.prepared import open_prepared
        from replearn.embed import OUTPUTS
        from replearn.embed import embed as run_embed

        carry_out(
            run,
            lambda: run_embed(run, open_prepared(dataset), encoder, output, leased.device),
            [output / name for name in OUTPUTS],
            after=encoder,
            log=log,
        )


@app.command("embed-text", rich_help_panel=STEPS)
def embed_text(
    config: ConfigArgument,
    dataset: DatasetOption,
    encoder: EncoderOption,
    output: OutputOption,
    gpus: GpusOption = 1,
    threads: ThreadsOption = 1,
    log: LogOption = None,
) -> None:
    """Write class prompts' and captions' embeddings of a run that learned from captions."""
    from replearn.config import read_run_config
    from replearn.devices import lease
    from replearn.failures import carry_out

    run = read_run_config(config)
    with lease(run.device, gpus=gpus, jobs_per_gpu=run.jobs_per_gpu) as leased:
        _limit_threads(threads)
        from replearn.data.prepared import open_prepared
        from replearn.embed import embed_text as run_embed_text

        carry_out(
            run,
            lambda: run_embed_text(run, open_prepared(dataset), encoder, output, leased.device),
            [output / "text.safetensors"],
            after=encoder,
            log=log,
        )


@app.command(rich_help_panel=STEPS)
def select(
    config: ConfigArgument,
    features: FeaturesOption,
    output: OutputOption,
    gpus: GpusOption = 1,
    threads: ThreadsOption = 1,
    log: LogOption = None,
) -> None:
    """Choose the probe's regularisation on the validation images; test data are out of reach here."""
    from replearn.config import read_run_config
    from replearn.devices import lease
    from replearn.failures import carry_out

    run = read_run_config(config)
    with lease(run.device, gpus=gpus, jobs_per_gpu=run.jobs_per_gpu) as leased:
        _limit_threads(threads)
        from replearn.evaluate.run import select as run_select

        def work() -> None:
            run_select(features, output, run.evaluation, run.identification, device=leased.device)

        carry_out(
            run, work, [output / "select.json"], after=features / "train.safetensors", log=log
        )


@app.command(rich_help_panel=STEPS)
def evaluate(
    config: ConfigArgument,
    features: FeaturesOption,
    select: Annotated[Path, typer.Option(help="select.json with the frozen choices.")],
    output: OutputOption,
    gpus: GpusOption = 1,
    threads: ThreadsOption = 1,
    log: LogOption = None,
) -> None:
    """kNN, linear probe and collapse diagnostics on the test images."""
    from replearn.config import read_run_config
    from replearn.devices import lease
    from replearn.failures import carry_out

    run = read_run_config(config)
    with lease(run.device, gpus=gpus, jobs_per_gpu=run.jobs_per_gpu) as leased:
        _limit_threads(threads)
        from replearn.evaluate.run import OUTPUTS
        from replearn.evaluate.run import evaluate as run_evaluate

        def work() -> None:
            run_evaluate(
                features,
                select,
                output,
                run.evaluation,
                run.identification,
                supervision=run.supervision,
                device=leased.device,
            )

        carry_out(run, work, [output / name for name in OUTPUTS], after=select, log=log)


@app.command(rich_help_panel=STEPS)
def text(
    config: ConfigArgument,
    features: FeaturesOption,
    output: OutputOption,
    log: LogOption = None,
) -> None:
    """Prompt classification and image–text retrieval of a run that learned from captions."""
    from replearn.config import read_run_config
    from replearn.evaluate.run import text as run_text
    from replearn.failures import carry_out

    run = read_run_config(config)
    carry_out(
        run,
        lambda: run_text(features, output, run.identification),
        [output / "text.json"],
        after=features / "text.safetensors",
        log=log,
    )


PlanArgument = Annotated[Path, typer.Argument(help="plan.json of the study.")]
PartialOption = Annotated[bool, typer.Option("--partial", help="Go on with what is finished.")]


@app.command(rich_help_panel=STEPS)
def collate(plan: PlanArgument, partial: PartialOption = False) -> None:
    """Gather all runs into tidy results and comparison tables."""
    from replearn.collate import collate as run_collate
    from replearn.tables import write_tables

    folder = run_collate(plan, _collated(plan, partial), partial=partial)
    typer.echo(write_tables(plan, folder))


@app.command(rich_help_panel=STEPS)
def report(plan: PlanArgument, output: OutputOption, partial: PartialOption = False) -> None:
    """Write the HTML report, one file that opens offline."""
    from replearn.report import build

    build(_collated(plan, partial), plan, output)


@app.command(rich_help_panel=STEPS)
def judge(
    claim: Annotated[Path, typer.Argument(help="A claim in YAML, of config/claims.")],
    plan: PlanArgument,
    output: OutputOption,
) -> None:
    """Say whether a claim's finished study supports it."""
    from replearn.claims.claim import load_claim
    from replearn.claims.judge import effect_words
    from replearn.claims.judge import judge as run_judge
    from replearn.jsonfile import write_json

    found = run_judge(load_claim(claim), plan, plan.parent)
    write_json(output, found)
    typer.echo(f"{found['sentence']}\n  {found['verdict']}")
    for finding in found["findings"]:
        typer.echo(f"  {finding['verdict']:13s}{finding['says']}")
        for part in finding["parts"]:
            typer.echo(f"{'':17s}{part['says']}: {effect_words(part)}, wanted {part['wanted']}")


@app.command(rich_help_panel=STEPS)
def claims(
    verdicts: Annotated[list[Path], typer.Argument(help="claim.json of each claim.")],
    output: Annotated[Path, typer.Option(help="The HTML page; tables go beside it.")],
) -> None:
    """Write the page of all claims: the statement, the experiment, the effect, the verdict."""
    from replearn.report.claims import write_page

    write_page(verdicts, output)


@app.command(rich_help_panel=STEPS)
def track(
    plan: PlanArgument,
    receipt: Annotated[Path, typer.Option(help="JSON file that says what was synced.")],
) -> None:
    """Sync a study into MLflow; a second time adds nothing."""
    from replearn.tracking import track as run_track

    run_track(plan, receipt=receipt)


app.registered_commands += questions.app.registered_commands


def main(arguments: list[str] | None = None) -> Any:
    """Entry point: a user's mistake becomes one message and exit status 2."""
    collector.not_at_exit()
    try:
        return app(arguments)
    except Exception as error:
        told = understood(error)
        if told is None:
            raise
        if leads():
            typer.echo(f"error: {told}", err=True)
        elif isinstance(error, UserError):
            # The first rank meets it too and tells; the launcher ends it when this one is gone.
            time.sleep(TELLING_SECONDS)
        else:
            typer.echo(f"error: rank {os.environ['RANK']}: {told}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        sys.exit(130)


def _collated(plan: Path, partial: bool) -> Path:
    """Where a study's tables go: beside its plan, or in a folder of their own while they are partial."""
    return plan.parent / "partial" if partial else plan.parent


def _limit_threads(threads: int) -> None:
    from replearn.allocator import keep_freed_memory

    with collector.paused():
        import torch
    keep_freed_memory()
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
