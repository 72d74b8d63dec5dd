"""A Hugging Face config.json in, the fields of a model spec out, key by key."""
