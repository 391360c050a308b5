"""The lecture's statements as experiments: a study, and criteria that are fixed before it runs."""
