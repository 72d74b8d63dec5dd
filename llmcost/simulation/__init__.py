"""What single requests see: an engine's scheduler, step by step, on real or drawn traffic."""
