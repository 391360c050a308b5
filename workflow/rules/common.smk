"""The studies of this invocation, planned once; what the rules share."""

import os
import sys
from functools import wraps
from inspect import signature
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
from replearn.claims.claim import SIZES, claim_files, study_name
from replearn.config import load_study
from replearn.devices import visible_devices
from replearn.errors import UserError
from replearn.identity import key_of, source_digests
from replearn.layout import FAMILIES
from replearn.locks import attend
from replearn.methods.options import METHODS
from replearn.planning import plan, write
from replearn.studies import Studies
from replearn.tracking import forget_stale_receipt

# Snakemake keeps what it makes of each job until it ends: there is next to no garbage to search for.
collector.rarely()


CLAIMS = claim_files(CHECKOUT / "config" / "claims")
OVERRIDES = dict(workflow.config_settings.config)
SIZE = str(OVERRIDES.pop("size", SIZES[0]))


def told(function):
    """`function`, its user's mistakes told by their message alone and not with a place in this file."""

    @wraps(function)
    def telling(*arguments):
        try:
            return function(*arguments)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    # Snakemake asks for it several times for each job, and working it out is slow.
    telling.__signature__ = signature(function)
    return telling


@told
def planned():
    """The studies of this invocation; files of a plan are written when it is made."""
    if workflow.is_main_process:
        attend(Path(".snakemake"))
    return Studies(plan(own_study()), CLAIMS, SIZE, OVERRIDES, on_plan=prepared)


def own_study():
    """The study of --configfile (config/config.yaml without), changed by --config.

    Snakemake's own `configfile:` would merge the default study into the one that was asked for.
    """
    files = workflow.config_settings.configfiles or [
        CHECKOUT / "config" / "config.yaml"
    ]
    if len(files) > 1:
        raise UserError(f"one study at a time, not {len(files)} config files")
    file = Path(files[0])
    if file.is_relative_to(Path.cwd()):
        file = file.relative_to(Path.cwd())
    return load_study(file, OVERRIDES)


def prepared(made):
    """Write what the jobs of a plan read."""
    if workflow.is_main_process:
        write(made)
        forget_stale_receipt(made.study_directory / "mlflow.json", made.study.results)


@told
def manifest_of(wildcards):
    """The dataset's manifest; its digest is part of the run's key, its time stamp says nothing."""
    datasets = STUDIES.of_run(wildcards.key).datasets
    return ancient(datasets[wildcards.dataset].manifest)


@told
def teacher_of(wildcards):
    """The trained encoder that a run learns from, if it learns from one."""
    return STUDIES.run(wildcards.key).teacher or []


def teacher_option(wildcards, input):
    """The same as words of the command line."""
    return ["--teacher", input.teacher] if input.teacher else []


@told
def length_of(wildcards):
    """How long a training takes, roughly: the scheduler starts long ones first."""
    config = STUDIES.run(wildcards.key).config
    if not config.options.trained:
        return 1
    return 1 + config.training.epochs * max(1, len(config.views))


@told
def gpus_of(wildcards, wanted=1):
    """GPUs that a job asks for: none if it would stay on the CPU anyway, so that no limit slows it."""
    device = STUDIES.of_run(wildcards.key).study.device
    if device == "auto" and workflow.local_exec:
        return min(wanted, len(visible_devices()))
    return 0 if device == "cpu" else wanted


@told
def training_gpus_of(wildcards):
    """GPUs that share a training."""
    return gpus_of(wildcards, STUDIES.of_run(wildcards.key).study.gpus_per_run)


def evaluations_of(plan):
    """Every metrics file of the study."""
    for run in plan.runs:
        families = [name for name in FAMILIES if name != "text" or run.captions]
        yield from (run.layout.evaluation / f"{name}.json" for name in families)


def code_of(*modules):
    """Changes with the code and the templates of a step that has no key of its own in its path."""
    templates = sorted((CHECKOUT / "replearn").glob("*/templates/*"))
    return key_of(source_digests(modules), [path.read_text() for path in templates])


def receipts_of(plan):
    """The file that says that a study is in MLflow, if it is to be there."""
    return [plan.study_directory / "mlflow.json"] if plan.study.tracking.enabled else []


def of_study(what):
    """Of the study that a job's wildcard names, `what` of its plan."""

    @told
    def found(wildcards):
        return what(STUDIES[wildcards.study])

    return found


def verdict_of(claim):
    """The file with a claim's verdict at the size of this invocation."""
    return f"{RESULTS}/studies/{study_name(claim, SIZE)}/claim.json"


def answer_of(claim):
    """All that asking for a claim makes: its verdict, its study's report, and its runs in MLflow."""

    @told
    def found(wildcards):
        made = STUDIES.claim(claim)
        answer = [verdict_of(claim), made.report, *receipts_of(made)]
        return [*answer, *evaluations_of(made)]

    return found


STUDIES = planned()
PLAN = STUDIES.own
RESULTS, REPORTS = PLAN.study.results, PLAN.study.reports
LOGS = RESULTS / "logs"

STUDY = f"{RESULTS}/studies/{{study}}"
PLAN_FILE = f"{STUDY}/plan.json"
RUN = f"{RESULTS}/runs/{{dataset}}/{{method}}/{{variant}}/seed-{{seed}}/{{key}}"
FEATURES = f"{RUN}/features-{{features}}"
EVALUATION = f"{FEATURES}/evaluation-{{evaluation}}"
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
    features=r"[0-9a-f]{12}",
    evaluation=r"[0-9a-f]{12}",
    study=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
