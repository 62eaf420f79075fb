"""Numbers to intervals: statistics that know nothing of reinforcement learning.

Two engines share one interface, ``mean_ci(x, low, high, alpha)``: a fixed-n
bootstrap (``intervals``) and an anytime-valid betting sequence (``betting``).
"""
