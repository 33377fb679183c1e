"""
The benches: how fast, how large, how patient, beside others and in one run. `python3 tools/bench`
lists them.
"""
