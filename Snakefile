"""The whole study: `snakemake --cores 8`."""


include: "workflow/Snakefile"


rule study:
    default_target: True
    input:
        rules.all.input,
