localrules:
    collate,
    report,
    track,
    report_partial,


rule collate:
    input:
        plan=PLAN.file,
        metrics=list(evaluations_of(PLAN)),
    output:
        results=PLAN.study_directory / "results.parquet",
        runs=PLAN.study_directory / "runs.parquet",
        tables=multiext(
            f"{PLAN.study_directory}/tables/comparison", ".html", ".md", ".tex", ".csv"
        ),
        similarity=PLAN.study_directory / "tables" / "cka.csv",
    log:
        LOGS / "collate" / f"{PLAN.study.name}.log",
    conda:
        "../../environment.yml"
    params:
        code=code_of("replearn.collate", "replearn.tables"),
    shell:
        "python -m replearn collate {input.plan:q} 2>&1 | tee {log:q}"


rule report:
    input:
        plan=PLAN.file,
        results=rules.collate.output.results,
        runs=rules.collate.output.runs,
        similarity=rules.collate.output.similarity,
    output:
        PLAN.report,
    log:
        LOGS / "report" / f"{PLAN.study.name}.log",
    conda:
        "../../environment.yml"
    params:
        code=code_of("replearn.report"),
    shell:
        "python -m replearn report {input.plan:q} --output {output:q} 2>&1 | tee {log:q}"


rule track:
    input:
        plan=PLAN.file,
        results=rules.collate.output.results,
        report=rules.report.output,
    output:
        PLAN.study_directory / "mlflow.json",
    log:
        LOGS / "track" / f"{PLAN.study.name}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m replearn track {input.plan:q} --receipt {output:q} 2>&1 | tee {log:q}"


# No outputs: whatever is finished becomes a report each time this is asked for.
rule report_partial:
    input:
        plan=ancient(PLAN.file),
    log:
        LOGS / "report" / f"{PLAN.study.name}-partial.log",
    conda:
        "../../environment.yml"
    params:
        report=PLAN.report.with_name("partial.html"),
    shell:
        "(python -m replearn collate {input.plan:q} --partial"
        " && python -m replearn report {input.plan:q} --output {params.report:q} --partial) 2>&1 | tee {log:q}"
