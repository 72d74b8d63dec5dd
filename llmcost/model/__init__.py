"""What a model is made of: kernels and their facts, blocks that list them, a whole pass, adapters, sums, and what must hold."""
