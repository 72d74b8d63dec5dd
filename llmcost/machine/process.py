"""What a process holds on its GPU beside what the program allocates: a CUDA context, and communicators.

Serving and training count the same two things and keep two figures of each, as both grow with what is run: a context
with the kernels that are loaded, communicators with the groups that a GPU is in.
"""

from llmcost.ground.constants import Constant

GIB = 2**30
_ML_ENGINEERING = 'stas00/ml-engineering, training/performance/README.md, "torch.distributed memory usage"'

SERVING_CONTEXT = Constant(
    55 * GIB // 100,
    f"an A100 before its first collective: {_ML_ENGINEERING}",
    "bytes",
    "0.47 GiB on an A100 with torch 2.1.1, 0.92 with all kernels loaded at once (the same page)",
)
TRAINING_CONTEXT = Constant(
    0.75 * GIB,
    "an H200 after whole training steps, with the workspaces of cuBLAS, torch 2.11: "
    "benchmarks/training_steps_h200.json, what is in use less what the allocator has reserved",
    "bytes",
    "as of SERVING_CONTEXT",
)
SERVING_COMMUNICATORS = Constant(
    145 * GIB // 100,
    f"2.00 GiB after the first collective of two A100s over NCCL, less the context's 0.55: {_ML_ENGINEERING}",
    "bytes",
    '"expect 1-2 GB", more with more GPUs (the same page)',
)
TRAINING_COMMUNICATORS = Constant(
    1.5 * GIB,
    "the middle of the same page's 1 to 2 GB, as a GPU that trains is in several groups: BigScience's 23 published "
    "memory figures are 7.2 % off with it (docs/accuracy.md), 7.8 % with SERVING_COMMUNICATORS",
    "bytes",
    "1 to 2 GB",
)
