"""Prefill, decode, requests and mixes of them; what has to fit; every figure of `llmcost estimate`."""
