"""llmcost: what a large language model costs, exactly counted and honestly predicted.

from llmcost import Options, estimate, load_hardware, load_model
answer = estimate(load_model("llama3-8b"), load_hardware("rtx4090"), Options(batch=4))
answer.decode.expected.tokens_per_s
"""

from llmcost.ground import __version__
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_hardware, load_model

__all__ = ["Options", "__version__", "estimate", "load_hardware", "load_model"]
