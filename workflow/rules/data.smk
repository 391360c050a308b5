localrules:
    prepare,


rule prepare:
    input:
        request=ancient(f"{RESULTS}/data/{{dataset}}/{{digest}}.json"),
    output:
        manifest=f"{RESULTS}/data/{{dataset}}/{{digest}}/manifest.json",
    log:
        f"{LOGS}/prepare/{{dataset}}-{{digest}}.log",
    retries: 1
    conda:
        "../../environment.yml"
    params:
        directory=subpath(output.manifest, parent=True),
    shell:
        "python -m replearn prepare {input.request:q} --output {params.directory:q} 2>&1 | tee {log:q}"
