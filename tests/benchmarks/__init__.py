"""Benchmarks: ratios within one run, with a yardstick beside each number; never a timed test.

``python -m tests.benchmarks`` runs all of them and writes ``results/*.md``.
"""
