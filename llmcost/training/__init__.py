"""A training step on many GPUs: recipe, time by cause, memory by stage, the whole run, utilization."""
