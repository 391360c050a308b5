localrules:
    judge,
    claims_page,
    claims,


rule judge:
    input:
        # By a function, because Snakemake would read braces and brackets of a folder's name.
        claim=lambda wildcards: CLAIMS[wildcards.claim],
        plan=told(lambda wildcards: STUDIES.claim(wildcards.claim).file),
        results=f"{RESULTS}/studies/claim_{{claim}}_{{size}}/results.parquet",
        runs=f"{RESULTS}/studies/claim_{{claim}}_{{size}}/runs.parquet",
    output:
        f"{RESULTS}/studies/claim_{{claim}}_{{size}}/claim.json",
    log:
        f"{LOGS}/judge/{{claim}}_{{size}}.log",
    wildcard_constraints:
        claim="|".join(CLAIMS) or "none",
        size=SIZE,
    conda:
        "../../environment.yml"
    params:
        code=code_of("replearn.claims.judge", "replearn.claims.identities"),
    shell:
        "python -m replearn judge {input.claim:q} {input.plan:q} --output {output:q} 2>&1 | tee {log:q}"


rule claims_page:
    input:
        verdicts=[verdict_of(claim) for claim in CLAIMS],
        # The page links to them.
        reports=[f"{REPORTS}/{study_name(claim, SIZE)}/index.html" for claim in CLAIMS],
    output:
        page=f"{REPORTS}/claims-{SIZE}/index.html",
        tables=multiext(f"{REPORTS}/claims-{SIZE}/index", ".csv", ".md", ".json"),
    log:
        LOGS / "claims" / f"{SIZE}.log",
    conda:
        "../../environment.yml"
    params:
        code=code_of("replearn.report.claims"),
    shell:
        "python -m replearn claims {input.verdicts:q} --output {output.page:q} 2>&1 | tee {log:q}"


# One target for each file in config/claims: snakemake claim_byol_collapse
for claim in CLAIMS:

    rule:
        name:
            f"claim_{claim}"
        input:
            answer_of(claim),
        localrule: True


# A name that no claim has: planning it says which one may have been meant.
rule unknown_claim:
    input:
        told(lambda wildcards: STUDIES.claim(wildcards.name).file),
    output:
        "claim_{name}",
    log:
        LOGS / "claims" / "unknown_{name}.log",
    wildcard_constraints:
        name="[^/]+",
    conda:
        "../../environment.yml"
    shell:
        "false"


rule claims:
    input:
        [answer_of(claim) for claim in CLAIMS],
        rules.claims_page.output,
