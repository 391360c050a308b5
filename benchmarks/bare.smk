"""The workflow's rules, files and jobs without its planning: what of a dry run is Snakemake's own?

benchmarks/dag.py times its dry runs beside ours. Where workflow/rules asks the plan, by input functions or for
GPUs, this has patterns and constants; it has no priorities and no conda environments.
"""

from pathlib import Path

NAME = config["name"]
DATA = "results/data/{dataset}/{digest}"
RUN = "results/runs/{dataset}/{method}/{variant}/seed-{seed}/{key}"
FEATURES = f"{RUN}/features-{{features}}"
EVALUATION = f"{FEATURES}/evaluation-{{evaluation}}"
STUDY = "results/studies/{study}"
DIGEST = "0123456789ab"

CONFIG = ancient(f"{RUN}/config.json")
MANIFEST = ancient(f"results/data/{{dataset}}/{DIGEST}/manifest.json")
TRAINED = [
    f"{RUN}/{file}"
    for file in ("encoder.safetensors", "pretrain.json", "history.jsonl")
]
PARTS = [
    f"{FEATURES}/{part}.safetensors"
    for part in ("train", "validation", "test", "views", "shifted")
]
TEXT = f"{FEATURES}/text.safetensors"
METRICS = [
    f"{EVALUATION}/{family}.json"
    for family in ("knn", "linear", "collapse", "structure", "robustness")
]
TABLES = multiext(f"{STUDY}/tables/comparison", ".html", ".md", ".tex", ".csv")
COLLATED = [
    f"{STUDY}/results.parquet",
    f"{STUDY}/runs.parquet",
    f"{STUDY}/tables/cka.csv",
    *TABLES,
]
PAGE = "reports/{study}/index.html"

RUNS = [
    {
        "dataset": "digits",
        "method": method,
        "variant": "default",
        "seed": seed,
        "key": f"{1000 * number + seed:012x}",
        "features": DIGEST,
        "evaluation": DIGEST,
    }
    for number, method in enumerate(config["methods"])
    for seed in config["seeds"]
]
EVALUATED = [pattern.format(**run) for run in RUNS for pattern in METRICS]
EVALUATED += [
    f"{EVALUATION}/text.json".format(**run) for run in RUNS if run["method"] == "clip"
]

# Rule by rule: its log's folder, what it reads, what it writes.
SHAPE = {
    "prepare": (DATA, [ancient(f"{DATA}.json")], [f"{DATA}/manifest.json"]),
    "pretrain": (RUN, [CONFIG, MANIFEST], TRAINED),
    "embed": (FEATURES, [CONFIG, MANIFEST, TRAINED[0]], PARTS),
    "embed_text": (FEATURES, [CONFIG, MANIFEST, TRAINED[0]], [TEXT]),
    "select": (EVALUATION, [CONFIG, *PARTS[:2]], [f"{EVALUATION}/select.json"]),
    "evaluate": (
        EVALUATION,
        [CONFIG, *PARTS, f"{EVALUATION}/select.json"],
        [*METRICS, f"{EVALUATION}/predictions.safetensors"],
    ),
    "text": (EVALUATION, [CONFIG, TEXT], [f"{EVALUATION}/text.json"]),
    "collate": (STUDY, [f"{STUDY}/plan.json", *EVALUATED], COLLATED),
    "report": (STUDY, [f"{STUDY}/plan.json", *COLLATED[:3]], [PAGE]),
    "track": (
        STUDY,
        [f"{STUDY}/plan.json", COLLATED[0], PAGE],
        [f"{STUDY}/mlflow.json"],
    ),
}
ANSWER = [
    PAGE.format(study=NAME),
    f"{STUDY}/mlflow.json".format(study=NAME),
    *EVALUATED,
]

if not Path(f"results/data/digits/{DIGEST}.json").exists():
    sources = [f"{RUN}/config.json".format(**run) for run in RUNS]
    sources += [
        f"{STUDY}/plan.json".format(study=NAME),
        f"results/data/digits/{DIGEST}.json",
    ]
    for source in map(Path, sources):
        source.parent.mkdir(parents=True, exist_ok=True)
        source.touch()


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


localrules:
    all,


rule all:
    default_target: True
    input:
        ANSWER,


for step, (place, reads, writes) in SHAPE.items():

    rule:
        name:
            step
        input:
            reads,
        output:
            writes,
        log:
            f"results/logs/{step}/{place}.log",
        resources:
            gpu=0,
        params:
            directory=subpath(output[0], parent=True),
        shell:
            "true {input[0]:q} {params.directory:q} {resources.gpu} > {log:q}"
