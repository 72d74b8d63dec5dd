"""A Hugging Face config.json in, the fields of a model spec out: what each `model_type` is made of, key by key."""
