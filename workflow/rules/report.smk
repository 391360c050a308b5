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
        tables=multiext(f"{PLAN.study_directory}/tables/comparison", ".html", ".md", ".tex", ".csv"),
    log:
        LOGS / "collate" / f"{PLAN.study.name}.log",
    conda:
        "../../environment.yml"
    shell:
        "replearn collate {input.plan:q} 2>&1 | tee {log:q}"


rule report:
    input:
        plan=PLAN.file,
        results=rules.collate.output.results,
        runs=rules.collate.output.runs,
    output:
        PLAN.report,
    log:
        LOGS / "report" / f"{PLAN.study.name}.log",
    conda:
        "../../environment.yml"
    shell:
        "replearn report {input.plan:q} --output {output:q} 2>&1 | tee {log:q}"


rule track:
    input:
        plan=PLAN.file,
        results=rules.collate.output.results,
        report=rules.report.output,
    output:
        RECEIPT,
    log:
        LOGS / "track" / f"{PLAN.study.name}.log",
    conda:
        "../../environment.yml"
    shell:
        "replearn track {input.plan:q} --receipt {output:q} 2>&1 | tee {log:q}"


# No outputs: whatever is finished becomes a report each time this is asked for.
rule report_partial:
    input:
        plan=ancient(PLAN.file),
    params:
        report=PLAN.report.with_name("partial.html"),
    log:
        LOGS / "report" / f"{PLAN.study.name}-partial.log",
    conda:
        "../../environment.yml"
    shell:
        "(replearn collate {input.plan:q} --partial"
        " && replearn report {input.plan:q} --output {params.report:q} --partial) 2>&1 | tee {log:q}"
