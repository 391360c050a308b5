# `select` has no path to test data; `evaluate` takes its frozen choice and touches them once.
rule select:
    input:
        config=f"{RUN}/config.json",
        train=f"{FEATURES}/train.safetensors",
        validation=f"{FEATURES}/validation.safetensors",
    output:
        select=f"{EVALUATION}/select.json",
    params:
        features=subpath(input.train, parent=True),
        directory=subpath(output.select, parent=True),
    log:
        f"{LOGS}/select/{{fkey}}-{{ekey}}/{RUN_LOG}",
    conda:
        "../../environment.yml"
    shell:
        "replearn select {input.config:q} --features {params.features:q} --output {params.directory:q}"
        " --threads {threads} 2>&1 | tee {log:q}"


rule evaluate:
    input:
        config=f"{RUN}/config.json",
        train=f"{FEATURES}/train.safetensors",
        validation=f"{FEATURES}/validation.safetensors",
        test=f"{FEATURES}/test.safetensors",
        views=f"{FEATURES}/views.safetensors",
        select=rules.select.output.select,
    output:
        knn=f"{EVALUATION}/knn.json",
        linear=f"{EVALUATION}/linear.json",
        collapse=f"{EVALUATION}/collapse.json",
        predictions=f"{EVALUATION}/predictions.safetensors",
    params:
        features=subpath(input.train, parent=True),
        directory=subpath(output.knn, parent=True),
    log:
        f"{LOGS}/evaluate/{{fkey}}-{{ekey}}/{RUN_LOG}",
    conda:
        "../../environment.yml"
    shell:
        "replearn evaluate {input.config:q} --features {params.features:q} --select {input.select:q}"
        " --output {params.directory:q} --threads {threads} 2>&1 | tee {log:q}"


rule text:
    input:
        config=f"{RUN}/config.json",
        text=f"{FEATURES}/text.safetensors",
    output:
        text=f"{EVALUATION}/text.json",
    params:
        features=subpath(input.text, parent=True),
        directory=subpath(output.text, parent=True),
    log:
        f"{LOGS}/text/{{fkey}}-{{ekey}}/{RUN_LOG}",
    conda:
        "../../environment.yml"
    shell:
        "replearn text {input.config:q} --features {params.features:q} --output {params.directory:q}"
        " 2>&1 | tee {log:q}"
