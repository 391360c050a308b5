# `select` has no path to test data; `evaluate` takes its frozen choice and touches them once.
rule select:
    input:
        config=CONFIG,
        train=f"{FEATURES}/train.safetensors",
        validation=f"{FEATURES}/validation.safetensors",
    output:
        select=f"{EVALUATION}/select.json",
    log:
        f"{LOGS}/select/{{features}}-{{evaluation}}/{RUN_LOG}",
    conda:
        "../../environment.yml"
    resources:
        gpu=gpus_of,
    params:
        features=subpath(input.train, parent=True),
        directory=subpath(output.select, parent=True),
    shell:
        "python -m replearn select {input.config:q} --features {params.features:q} --output {params.directory:q}"
        " --gpus {resources.gpu} --threads {threads} --log {log:q} 2>&1 | tee {log:q}"


rule evaluate:
    input:
        config=CONFIG,
        train=f"{FEATURES}/train.safetensors",
        validation=f"{FEATURES}/validation.safetensors",
        test=f"{FEATURES}/test.safetensors",
        views=f"{FEATURES}/views.safetensors",
        shifted=f"{FEATURES}/shifted.safetensors",
        select=rules.select.output.select,
    output:
        knn=f"{EVALUATION}/knn.json",
        linear=f"{EVALUATION}/linear.json",
        collapse=f"{EVALUATION}/collapse.json",
        structure=f"{EVALUATION}/structure.json",
        robustness=f"{EVALUATION}/robustness.json",
        predictions=f"{EVALUATION}/predictions.safetensors",
    log:
        f"{LOGS}/evaluate/{{features}}-{{evaluation}}/{RUN_LOG}",
    conda:
        "../../environment.yml"
    resources:
        gpu=gpus_of,
    params:
        features=subpath(input.train, parent=True),
        directory=subpath(output.knn, parent=True),
    shell:
        "python -m replearn evaluate {input.config:q} --features {params.features:q} --select {input.select:q}"
        " --output {params.directory:q} --gpus {resources.gpu} --threads {threads} --log {log:q} 2>&1 | tee {log:q}"


rule text:
    input:
        config=CONFIG,
        text=f"{FEATURES}/text.safetensors",
    output:
        text=f"{EVALUATION}/text.json",
    log:
        f"{LOGS}/text/{{features}}-{{evaluation}}/{RUN_LOG}",
    conda:
        "../../environment.yml"
    params:
        features=subpath(input.text, parent=True),
        directory=subpath(output.text, parent=True),
    shell:
        "python -m replearn text {input.config:q} --features {params.features:q} --output {params.directory:q}"
        " --log {log:q} 2>&1 | tee {log:q}"
