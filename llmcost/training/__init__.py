"""Training: one step of a model on many GPUs, what it keeps in memory, and what a whole run takes.

Layout (layout.py) and recipe (recipe.py) in; the operators of one GPU with their backward pass (passes.py), what they
keep for it (kept.py), the exchanges between GPUs (exchanges.py); time (step.py) and memory (states.py) of a step (train.py) out.
`llmcost train` asks for a whole run (answer.py), in a layout of its own choice where none is given (automatic.py).
"""

from llmcost.training.rates import PASSES, backward, training

__all__ = ["PASSES", "backward", "training"]
