localrules:
    collate,
    report,
    track,
    report_partial,


rule collate:
    input:
        plan=PLAN_FILE,
        metrics=of_study(lambda plan: list(evaluations_of(plan))),
    output:
        results=f"{STUDY}/results.parquet",
        runs=f"{STUDY}/runs.parquet",
        tables=multiext(f"{STUDY}/tables/comparison", ".html", ".md", ".tex", ".csv"),
        similarity=f"{STUDY}/tables/cka.csv",
    log:
        f"{LOGS}/collate/{{study}}.log",
    conda:
        "../../environment.yml"
    params:
        code=code_of("replearn.collate", "replearn.tables"),
    shell:
        "python -m replearn collate {input.plan:q} 2>&1 | tee {log:q}"


rule report:
    input:
        plan=PLAN_FILE,
        results=rules.collate.output.results,
        runs=rules.collate.output.runs,
        similarity=rules.collate.output.similarity,
    output:
        f"{REPORTS}/{{study}}/index.html",
    log:
        f"{LOGS}/report/{{study}}.log",
    conda:
        "../../environment.yml"
    params:
        code=code_of("replearn.report"),
    shell:
        "python -m replearn report {input.plan:q} --output {output:q} 2>&1 | tee {log:q}"


rule track:
    input:
        plan=PLAN_FILE,
        results=rules.collate.output.results,
        report=rules.report.output,
    output:
        f"{STUDY}/mlflow.json",
    log:
        f"{LOGS}/track/{{study}}.log",
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
