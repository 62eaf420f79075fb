"""How fast malgen is beside others: ``python -m benchmarks``, or ``make bench``."""
