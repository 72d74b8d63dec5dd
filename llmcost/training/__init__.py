"""What training takes on many GPUs: a step's time by cause, its memory by stage, a whole run, its utilization."""
