"""Benchmarks: ratios within one run, with a yardstick beside each number; never a timed test.

``python -m tests.benchmarks`` measures and writes ``results``: records, tables, pictures. What they
rest on (rows are compared, results kept, nothing left behind) is tested in ``test_benchmarks``.
"""
