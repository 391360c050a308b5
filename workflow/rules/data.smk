localrules:
    prepare,


rule prepare:
    input:
        request=f"{RESULTS}/data/{{dataset}}/{{digest}}.json",
    output:
        manifest=f"{RESULTS}/data/{{dataset}}/{{digest}}/manifest.json",
    params:
        directory=subpath(output.manifest, parent=True),
    log:
        f"{LOGS}/prepare/{{dataset}}-{{digest}}.log",
    conda:
        "../../environment.yml"
    retries: 1
    shell:
        "replearn prepare {input.request:q} --output {params.directory:q} 2>&1 | tee {log:q}"
