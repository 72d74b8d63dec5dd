"""What a model is made of: kernels and their facts, blocks that list them, whole passes, adapters, and sums."""
