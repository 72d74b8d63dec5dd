"""One GPU's share: layouts and their rules, how each kernel is split, passes through pipeline stages."""
