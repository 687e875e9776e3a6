"""What runs when: dbt and its windows, the run ledger, Dagster, publication, the command line.

No business rule is written here; what a mart means stands in ``dbt_project``.
"""
