"""The study of this invocation, planned once; what the rules share."""

import os
import sys
from pathlib import Path

# Jobs run the very code that planned them, with the Python that runs Snakemake unless a rule's
# conda environment or container brings its own.
CHECKOUT = Path(workflow.basedir)
if not (CHECKOUT / "replearn").is_dir():
    CHECKOUT = CHECKOUT.parent
sys.path.insert(0, str(CHECKOUT))
for variable, folder in (
    ("PYTHONPATH", CHECKOUT),
    ("PATH", Path(sys.executable).parent),
):
    others = [
        entry for entry in os.environ.get(variable, "").split(os.pathsep) if entry
    ]
    os.environ[variable] = os.pathsep.join(dict.fromkeys([str(folder), *others]))

from replearn import collector
from replearn.config import load_study
from replearn.devices import visible_devices
from replearn.errors import UserError
from replearn.identity import key_of, source_digests
from replearn.layout import FAMILIES
from replearn.locks import attend
from replearn.methods.options import METHODS
from replearn.planning import plan, protocol_keys, write
from replearn.tracking import forget_stale_receipt

# Snakemake keeps what it makes of each job until it ends: there is next to no garbage to search for.
collector.rarely()


def planned():
    """The study of --configfile (config/config.yaml without), changed by --config, and its plan.

    Snakemake's own `configfile:` would merge the default study into the one that was asked for.
    """
    files = workflow.config_settings.configfiles or [
        CHECKOUT / "config" / "config.yaml"
    ]
    overrides = dict(workflow.config_settings.config)
    try:
        if len(files) > 1:
            raise UserError(f"one study at a time, not {len(files)} config files")
        file = Path(files[0])
        if file.is_relative_to(Path.cwd()):
            file = file.relative_to(Path.cwd())
        result = plan(load_study(file, overrides))
        if workflow.is_main_process:
            attend(Path(".snakemake"))
            write(result)
            forget_stale_receipt(
                result.study_directory / "mlflow.json", result.study.results
            )
        return result
    except UserError as error:
        # The message alone: Snakemake would add where in this file the error was noticed.
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def manifest_of(wildcards):
    """The dataset's manifest; its digest is part of the run's key, its time stamp says nothing."""
    return ancient(PLAN.datasets[wildcards.dataset].manifest)


def length_of(wildcards):
    """How long a training takes, roughly: the scheduler starts long ones first."""
    run = RUNS.get(wildcards.key)
    if run is None or not run.config.options.trained:
        return 1
    return 1 + run.config.training.epochs * max(1, len(run.config.views))


def gpus_of(wildcards, wanted=1):
    """GPUs that a job asks for: none if it would stay on the CPU anyway, so that no limit slows it."""
    if PLAN.study.device == "auto" and workflow.local_exec:
        return min(wanted, len(visible_devices()))
    return 0 if PLAN.study.device == "cpu" else wanted


def training_gpus_of(wildcards):
    """GPUs that share a training."""
    return gpus_of(wildcards, PLAN.study.gpus_per_run)


def evaluations_of(plan):
    """Every metrics file of the study."""
    for run in plan.runs:
        families = [name for name in FAMILIES if name != "text" or run.captions]
        yield from (run.layout.evaluation / f"{name}.json" for name in families)


def code_of(*modules):
    """Changes with the code and the templates of a step that has no key of its own in its path."""
    templates = sorted((CHECKOUT / "replearn").glob("*/templates/*"))
    return key_of(source_digests(modules), [path.read_text() for path in templates])


PLAN = planned()
RUNS = {run.config.key: run for run in PLAN.runs}
RESULTS = PLAN.study.results
LOGS = RESULTS / "logs"
RECEIPTS = [PLAN.study_directory / "mlflow.json"] if PLAN.study.tracking.enabled else []

FEATURES_KEY, EVALUATION_KEY = protocol_keys(PLAN.study.evaluation)
RUN = f"{RESULTS}/runs/{{dataset}}/{{method}}/{{variant}}/seed-{{seed}}/{{key}}"
FEATURES = f"{RUN}/features-{FEATURES_KEY}"
EVALUATION = f"{FEATURES}/evaluation-{EVALUATION_KEY}"
RUN_LOG = "{dataset}/{method}/{variant}/seed-{seed}-{key}.log"
# Everything in it that matters is in the key, and hence in its path.
CONFIG = ancient(f"{RUN}/config.json")
CAPTIONED = [
    name for name, options in METHODS.items() if options.supervision == "captions"
]


wildcard_constraints:
    dataset=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    digest=r"[0-9a-f]{12}",
    method=r"[a-z][a-z0-9_]*",
    variant=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    seed=r"[0-9]+",
    key=r"[0-9a-f]{12}",
