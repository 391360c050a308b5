"""The study of this invocation, planned once; what the rules share."""

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

CHECKOUT = Path(workflow.basedir).parent if Path(workflow.basedir).name == "workflow" else Path(workflow.basedir)
sys.path.insert(0, str(CHECKOUT))

from replearn.config import load_study
from replearn.errors import UserError
from replearn.methods.options import METHODS
from replearn.planning import plan, write
from replearn.tracking import forget_lost_store


def planned():
    """The study named by --configfile alone (config/config.yaml without), changed by --config, and its plan."""
    files = workflow.config_settings.configfiles or [CHECKOUT / "config" / "config.yaml"]
    overrides = dict(workflow.config_settings.config)
    try:
        if len(files) > 1:
            raise UserError(f"one study at a time, not {len(files)} config files")
        study = load_study(files[0], overrides)
        result = plan(study)
        write(result)
        return result
    except UserError as error:
        raise WorkflowError(str(error)) from None


def manifest_of(wildcards):
    return PLAN.datasets[wildcards.dataset].manifest


def evaluations_of(plan):
    """Every metrics file of the study."""
    for run in plan.runs:
        names = ["knn", "linear", "collapse", *(["text"] if run.captions else [])]
        yield from (run.layout.evaluation / f"{name}.json" for name in names)


PLAN = planned()
RESULTS = PLAN.study.results
LOGS = RESULTS / "logs"
RECEIPT = PLAN.study_directory / "mlflow.json"
forget_lost_store(RECEIPT, RESULTS)

RUN = f"{RESULTS}/runs/{{dataset}}/{{method}}/{{variant}}/seed-{{seed}}/{{key}}"
FEATURES = f"{RUN}/features-{{fkey}}"
EVALUATION = f"{FEATURES}/evaluation-{{ekey}}"
RUN_LOG = "{dataset}/{method}/{variant}/seed-{seed}-{key}.log"
CAPTIONED = [name for name, options in METHODS.items() if options.supervision == "captions"]
GPUS = 0 if PLAN.study.device == "cpu" else 1


wildcard_constraints:
    dataset=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    digest=r"[0-9a-f]{12}",
    method=r"[a-z][a-z0-9_]*",
    variant=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    seed=r"[0-9]+",
    key=r"[0-9a-f]{12}",
    fkey=r"[0-9a-f]{12}",
    ekey=r"[0-9a-f]{12}",
