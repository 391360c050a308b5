rule pretrain:
    input:
        config=CONFIG,
        manifest=manifest_of,
        teacher=teacher_of,
    output:
        encoder=f"{RUN}/encoder.safetensors",
        pretrain=f"{RUN}/pretrain.json",
        history=f"{RUN}/history.jsonl",
    log:
        f"{LOGS}/pretrain/{RUN_LOG}",
    priority: length_of
    conda:
        "../../environment.yml"
    resources:
        gpu=training_gpus_of,
    params:
        directory=subpath(output.encoder, parent=True),
        teacher=teacher_option,
    shell:
        "python -m replearn pretrain {input.config:q} --dataset {input.manifest:q} --output {params.directory:q}"
        " {params.teacher:q} --gpus {resources.gpu} --threads {threads} --log {log:q} 2>&1 | tee {log:q}"


rule embed:
    input:
        config=CONFIG,
        manifest=manifest_of,
        encoder=rules.pretrain.output.encoder,
    output:
        train=f"{FEATURES}/train.safetensors",
        validation=f"{FEATURES}/validation.safetensors",
        test=f"{FEATURES}/test.safetensors",
        views=f"{FEATURES}/views.safetensors",
        shifted=f"{FEATURES}/shifted.safetensors",
    log:
        f"{LOGS}/embed/{{features}}/{RUN_LOG}",
    conda:
        "../../environment.yml"
    resources:
        gpu=gpus_of,
    params:
        directory=subpath(output.train, parent=True),
    shell:
        "python -m replearn embed {input.config:q} --dataset {input.manifest:q} --encoder {input.encoder:q}"
        " --output {params.directory:q} --gpus {resources.gpu} --threads {threads} --log {log:q} 2>&1 | tee {log:q}"


rule embed_text:
    input:
        config=CONFIG,
        manifest=manifest_of,
        encoder=rules.pretrain.output.encoder,
    output:
        text=f"{FEATURES}/text.safetensors",
    log:
        f"{LOGS}/embed_text/{{features}}/{RUN_LOG}",
    wildcard_constraints:
        method="|".join(CAPTIONED),
    conda:
        "../../environment.yml"
    resources:
        gpu=gpus_of,
    params:
        directory=subpath(output.text, parent=True),
    shell:
        "python -m replearn embed-text {input.config:q} --dataset {input.manifest:q} --encoder {input.encoder:q}"
        " --output {params.directory:q} --gpus {resources.gpu} --threads {threads} --log {log:q} 2>&1 | tee {log:q}"
