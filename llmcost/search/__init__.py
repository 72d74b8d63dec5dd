"""Many questions at once: which GPUs hold a model, options combined, models side by side, the best layout."""
