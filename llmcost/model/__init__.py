"""What a model is made of: kernels, the blocks that list them, a whole pass, its backward pass, adapters, and sums over the list."""
