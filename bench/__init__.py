"""Benchmarks: `./netflight bench NAME` runs bench/NAME.py, which prints a ratio against something real.

One file is one benchmark. It has a docstring (its first line is the help), `COLUMNS` are none of its business:
it has `run(options)`, which returns a `bench.support.report.Report`. What several share is in bench/support.
"""
