"""Planning: every legal way to spread a training step over GPUs, timed by the engine of `llmcost train`, and why all but one lose.

The ways as arrays (space.py), timed many at once (search.py), sorted by what they lose to (causes.py).
"""
