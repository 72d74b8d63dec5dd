"""YAML files, config.json and profiles in; model and hardware specs out, strictly read."""
