"""Many questions at once: which GPUs hold a model, every combination of options, models side by side, the best layout."""
