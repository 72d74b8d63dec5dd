"""Training: one step of a model on many GPUs, what it keeps in memory, and what a whole run takes.

Layout (layout.py) and recipe (recipe.py) in; the operators of one GPU with their backward pass (passes.py), what they
keep for it (kept.py), the exchanges between GPUs (exchanges.py); time (step.py), memory (states.py) and answer (train.py) out.
"""

from llmcost.training.rates import PASSES, backward, training

__all__ = ["PASSES", "backward", "training"]
