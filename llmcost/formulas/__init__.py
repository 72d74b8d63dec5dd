"""How a figure comes about: the engines of serving and training, run on letters instead of numbers."""
