"""Great Expectations at the two borders: what came in, and what goes out.

Belongs here: suites as YAML, the small frames they look at (one row per date or load, made by one
aggregated query), and the module that runs them. Rules of single events belong to the door, rules
of single tables to dbt tests.
"""
