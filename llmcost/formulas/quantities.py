"""What each figure of an estimate is: its unit, in a line what it counts, and the source of its formula.

Keys are the paths of the JSON. A test holds that every figure has an entry here, and every entry a figure.
"""

from __future__ import annotations

from typing import NamedTuple

SLIDES = "slides (典型大语言模型架构, Tsinghua)"
WALK = "nanoGPT walk (LLM 结构:从 nanogpt 源码谈起)"
FLASH = "FlashAttention, arXiv 2205.14135"
ROOFLINE = "roofline model, Williams et al., CACM 52(4), 2009"
DOCS = "docs/conventions.md"
# Other words for what has several figures.
THROUGHPUT = "throughput speed fast tokens second 吞吐量 速度 推理速度"
LATENCY = "latency time e2e end 延迟"
TTFT = "ttft latency time first token 首字延迟 首token"
TPOT = "tpot latency time itl inter-token 每token时间 延迟"
MIX = "continuous batching: Orca, OSDI 2022; Sarathi-Serve, arXiv 2403.02310; docs/conventions.md"


class Quantity(NamedTuple):
    """What one figure is: its unit, what it counts, the source of its formula, and other words that people say."""

    unit: str
    what: str
    source: str
    also: str = ""


def _pass(path: str, per: str, what: str, rule: str, also: str) -> dict[str, Quantity]:
    """The figures of a pass (prefill, or a decode step): its seconds and rates on three bases, and its bounds.

    `per` ends the name of its time; `rule` is the source of the textbook's; `also`: other words for its time.
    """
    seconds, assumed = f"seconds{per}", " mfu utilization 利用率" * (not per)
    return {
        f"{path}.textbook.{seconds}": Quantity("s", f"{what}, textbook", rule, also + assumed),
        **_rates(path, "textbook", what, rule, per),
        f"{path}.limit.{seconds}": Quantity(
            "s", f"{what}, limit: all FLOPs at the peak or all compulsory bytes at full bandwidth", ROOFLINE, also
        ),
        **_rates(path, "limit", what, ROOFLINE, per),
        f"{path}.expected.{seconds}": Quantity(
            "s",
            f"{what}, expected: kernel by kernel",
            "smooth maximum of compute and memory, docs/conventions.md",
            also,
        ),
        **_rates(path, "expected", what, "as its time", per),
        f"{path}.bound.compute_seconds": Quantity(
            "s",
            f"{what}: what the FLOPs need at the peak",
            ROOFLINE,
            "roofline arithmetic intensity 屋顶线 算力 算术强度",
        ),
        f"{path}.bound.memory_seconds": Quantity(
            "s",
            f"{what}: what the compulsory bytes need at full bandwidth",
            ROOFLINE,
            "roofline arithmetic intensity 屋顶线 带宽 访存 算术强度",
        ),
        f"{path}.bound.network_seconds": Quantity(
            "s", f"{what}: what the communication between GPUs needs over their links", ROOFLINE, "roofline 屋顶线 通信"
        ),
        f"{path}.bound.host_seconds": Quantity(
            "s", f"{what}: what the bytes in the host's memory need at its full bandwidth", ROOFLINE
        ),
    }


def _rates(path: str, basis: str, what: str, source: str, per: str) -> dict[str, Quantity]:
    """The rates of a pass on one basis: of the whole batch, of a GPU, and in decode of a user."""
    rates = {
        f"{path}.{basis}.tokens_per_s": Quantity("tokens/s", f"{what}, {basis}", source, THROUGHPUT),
        f"{path}.{basis}.tokens_per_s_per_gpu": Quantity("tokens/s", f"{what}, {basis}, a GPU", source, THROUGHPUT),
    }
    user = Quantity("tokens/s", f"{what}, {basis}, one sequence", source, f"{THROUGHPUT} interactivity")
    sequences = Quantity("sequences/s", f"{what}, {basis}: prompts, or sequences of an encoder", source, THROUGHPUT)
    last = {f"{path}.{basis}.tokens_per_s_per_user": user} if per else {f"{path}.{basis}.sequences_per_s": sequences}
    return rates | last


def _request(basis: str, source: str) -> dict[str, Quantity]:
    """The figures of a batch of requests on one basis."""
    path = f"request.{basis}"
    return {
        f"{path}.ttft_seconds": Quantity("s", f"time to the first token, {basis}: the prefill", source, TTFT),
        f"{path}.tpot_seconds": Quantity("s", f"mean time of each token after the first, {basis}", source, TPOT),
        f"{path}.latency_seconds": Quantity("s", f"from the prompt to the last token, {basis}", source, LATENCY),
        f"{path}.output_tokens_per_s": Quantity(
            "tokens/s", f"output of the whole batch over its latency, {basis}", source, THROUGHPUT
        ),
    }


def _serving(basis: str, source: str) -> dict[str, Quantity]:
    """The rates of a mix of requests on one basis."""
    path = f"serving.{basis}"
    return {
        f"{path}.requests_per_s": Quantity("requests/s", f"requests of the mix, {basis}", source, f"qps {THROUGHPUT}"),
        f"{path}.output_tokens_per_s": Quantity("tokens/s", f"output of all requests, {basis}", source, THROUGHPUT),
        f"{path}.total_tokens_per_s": Quantity(
            "tokens/s", f"prompts and output of all requests, {basis}", source, THROUGHPUT
        ),
        f"{path}.output_tokens_per_s_per_gpu": Quantity(
            "tokens/s", f"output of all requests, {basis}, a GPU", source, THROUGHPUT
        ),
    }


QUANTITIES: dict[str, Quantity] = {
    "model.params.total": Quantity(
        "parameters",
        "all parameters, tied ones once",
        f"{SLIDES}: 参数量; {WALK}: 参数量",
        "size weights 模型大小 权重",
    ),
    "model.params.active": Quantity(
        "parameters",
        "parameters that one token's computation can touch",
        "the total, where every block serves every token",
        "moe experts 激活参数 专家",
    ),
    "model.params.embedding": Quantity(
        "parameters", "token embedding and learned positions", f"{SLIDES}: 词嵌入", "embeddings 词嵌入"
    ),
    "model.params.attention": Quantity(
        "parameters", "q, k, v and output projections", f"{SLIDES}: 注意力模块; {WALK}: rows 1 and 4", "qkv 注意力"
    ),
    "model.params.mlp": Quantity(
        "parameters", "MLP projections", f"{SLIDES}: FFN模块; {WALK}: rows 5 and 6", "ffn feed-forward 前馈"
    ),
    "model.params.norm": Quantity(
        "parameters",
        "norm weights (and LayerNorm's biases)",
        "RMSNorm, arXiv 1910.07467; LayerNorm, arXiv 1607.06450",
        "layernorm rmsnorm 归一化",
    ),
    "model.params.lm_head": Quantity(
        "parameters",
        "output projection, 0 when tied to the embedding",
        f"{SLIDES}: LM head; {WALK}: row 7",
        "unembedding logits 输出层",
    ),
    "model.params.text": Quantity(
        "parameters",
        "the text model alone, of a model that has towers beside it",
        "the total without the towers",
        "language",
    ),
    "model.params.towers": Quantity(
        "parameters",
        "encoders of images and sound, with their projectors",
        "config.json; transformers' modeling code",
        "vision audio encoder 视觉 音频",
    ),
    "encoding.prompt_tokens": Quantity(
        "tokens",
        "of a prompt, those that stand for images and sound",
        "transformers' image processor of the family",
        "images 图像",
    ),
    "encoding.flops": Quantity(
        "FLOP", "the towers on images and sound of all prompts", "2 a multiply-add", "images vision 图像 计算量"
    ),
    "offload.weights_bytes": Quantity("B", "weights in the host's memory (--offload)", DOCS, "host cpu 主机 内存"),
    "offload.kv_cache_bytes": Quantity(
        "B", "KV cache of the layers that are in the host's memory", DOCS, "host cpu 主机 缓存"
    ),
    "offload.usable_bytes": Quantity("B", "the host's memory", "its spec", "cpu ram 主机 内存"),
    "offload.read_bytes": Quantity("B", "read from the host's memory in a decode step", DOCS, "cpu 主机 访存"),
    "offload.sent_bytes_per_step": Quantity("B", "between host and GPU in a decode step", DOCS, "pcie 主机"),
    "offload.sent_bytes_of_prefill": Quantity("B", "between host and GPU for all prompts", DOCS, "pcie 主机"),
    "offload.link_bytes_per_s": Quantity(
        "B/s", "what copies from the host's memory reach", "half of the link, both ways, times a measured share", "pcie"
    ),
    "model.max_position_embeddings": Quantity(
        "tokens",
        "positions that the model was made for; a longer context costs what it costs",
        "config.json",
        "context window 上下文长度",
    ),
    "flops.per_token.linear": Quantity(
        "FLOP", "linear layers without the LM head", f"{SLIDES}: 计算量, 全连接层", "compute matmul gemm 计算量 线性层"
    ),
    "flops.per_token.attention": Quantity(
        "FLOP", "attention scores and values, all c keys seen", f"{SLIDES}: 计算量 (SDPA)", "compute sdpa 注意力计算量"
    ),
    "flops.per_token.lm_head": Quantity("FLOP", "LM head", f"{WALK}: row 7, Linear Output", "compute logits 输出层"),
    "flops.per_token.total": Quantity(
        "FLOP", "one token, all c keys seen", f"{SLIDES}: 计算量; {WALK}: gpt 计算量", "compute 计算量"
    ),
    "flops.prefill.full": Quantity(
        "FLOP",
        "whole prompt, every (query, key) pair, logits of the last token",
        f"{WALK}: gpt 计算量",
        "compute prompt 预填充计算量",
    ),
    "flops.prefill.causal": Quantity(
        "FLOP",
        "whole prompt, the s(s+1)/2 pairs of a causal mask, logits of the last token",
        f"{FLASH}, section 3",
        "compute prompt 预填充计算量",
    ),
    "flops.forward.full": Quantity(
        "FLOP", "whole sequence, every pair, logits of all tokens", f"{WALK}: gpt 计算量", "compute 前向计算量"
    ),
    "flops.forward.causal": Quantity(
        "FLOP",
        "whole sequence, the pairs of a causal mask, logits of all tokens",
        f"{FLASH}, section 3",
        "compute 前向计算量",
    ),
    "kv_cache.bytes": Quantity(
        "B", "keys, values and states of the whole batch at its context", f"{SLIDES}: KV缓存大小", "kvcache 缓存 显存"
    ),
    "kv_cache.bytes_per_token": Quantity(
        "B", "keys and values of one token: states do not grow", f"{SLIDES}: KV缓存大小", "kvcache 每token缓存"
    ),
    "memory.weights_bytes": Quantity(
        "B",
        "all parameters in their data types, as engines load them (copies, padding)",
        f"{SLIDES}: 显存开销",
        "vram quantization precision 权重 参数显存 量化",
    ),
    "memory.kv_cache_bytes": Quantity(
        "B",
        "the KV cache as allocated: whole pages, windows with a piece of a prompt, groups of equally many layers",
        f"{SLIDES}: 显存开销; PagedAttention, arXiv 2309.06180; vLLM, vllm/v1/core/kv_cache_utils.py",
        "vram kvcache 缓存",
    ),
    "memory.kv_cache_least_bytes": Quantity(
        "B",
        "the keys, values and states that a GPU needs, without pages and padding",
        f"{SLIDES}: KV缓存大小",
        "vram kvcache 缓存",
    ),
    "memory.activation_bytes": Quantity(
        "B",
        "residual stream, inputs and outputs of the largest kernel, of one prompt or of a decode step",
        DOCS,
        "vram activations 激活",
    ),
    "memory.runtime_bytes": Quantity(
        "B",
        "CUDA context with torch's kernels, and buffers of collectives",
        "stas00/ml-engineering, training/performance/README.md: 0.55 and 1.45 GiB on an A100",
        "vram cuda nccl 运行时",
    ),
    "memory.used_bytes": Quantity(
        "B", "weights, cache, activations and runtime: what the process holds", DOCS, "vram 显存占用"
    ),
    "memory.set_aside_bytes": Quantity(
        "B",
        "left free for fragmentation and all else",
        "vLLM, gpu_memory_utilization; SGLang, mem_fraction_static",
        "vram utilization reserve 预留",
    ),
    "memory.overhead_bytes": Quantity(
        "B",
        "the runtime's own, and what is set aside for fragmentation and all else",
        "vLLM, gpu_memory_utilization",
        "vram 额外显存",
    ),
    "memory.total_bytes": Quantity(
        "B",
        "what is used and what is set aside",
        f"{SLIDES}: 显存开销, with activations and what is set aside",
        "vram 显存 总计",
    ),
    "memory.capacity_bytes": Quantity(
        "B", "the GPU's memory as its vendor calls it, 1 GB = 10⁹ bytes", "hardware spec", "vram 显存容量"
    ),
    "memory.usable_bytes": Quantity(
        "B",
        "the GPU's memory as its driver reports it; as its vendor calls it where no source says",
        "hardware spec",
        "vram 可用显存",
    ),
    "memory.fits": Quantity("", "whether the total fits", DOCS, "vram oom 放得下"),
    "memory.max_batch": Quantity(
        "sequences", "largest batch at this context", DOCS, "concurrency size users 最大批量 批大小 并发"
    ),
    "memory.max_context": Quantity(
        "tokens",
        "largest context at this batch, at most the model's maximum or what is asked",
        DOCS,
        "length 最大上下文",
    ),
    "memory.sampler_bytes": Quantity(
        "B", "what the engine's sampler takes for as many sequences as may ever run", "the engine's file: sampler"
    ),
    "memory.mem_fraction_static": Quantity(
        "",
        "share for weights and cache of what the runtime leaves, where the engine sets one",
        "the engine's file: mem_fraction_static",
        "vram sglang utilization 显存比例",
    ),
    "traffic.decode.weight_bytes": Quantity(
        "B",
        "weights read in a decode step, rows of the embedding as looked up",
        f"{SLIDES}: 访存量",
        "reads 访存量 权重",
    ),
    "traffic.decode.kv_cache_bytes": Quantity(
        "B", "KV cache and states read in a decode step", f"{SLIDES}: 访存量", "reads kvcache 访存量 缓存"
    ),
    "traffic.decode.total_bytes": Quantity(
        "B", "compulsory bytes of a decode step", f"{SLIDES}: 访存量", "reads 访存量"
    ),
    **_pass("prefill", "", "whole prompt of the batch", f"{SLIDES}: 预填充吞吐量", f"prompt {TTFT} 预填充"),
    **_pass(
        "decode",
        "_per_step",
        "one token for every sequence",
        f"{SLIDES}: 访存量, 解码速度",
        f"generation {TPOT} 解码",
    ),
    **_request("textbook", f"{SLIDES}: 解码速度"),
    **_request("limit", ROOFLINE),
    **_request("expected", DOCS),
    "serving.running": Quantity("requests", "requests of the mix that run at a time", MIX, "batch concurrency 并发"),
    "serving.max_concurrency": Quantity(
        "requests", "requests whose caches have room, each at its mean length", MIX, "batch 最大并发"
    ),
    "serving.kv_cache_bytes": Quantity(
        "B", "caches of the requests that run on the fullest GPU, each half answered", MIX, "kvcache 缓存"
    ),
    "serving.draft_bytes": Quantity(
        "B", "weights of what guesses tokens, on the fullest GPU, beside the model's own", MIX, "speculate 推测"
    ),
    **_serving("limit", ROOFLINE),
    **_serving("expected", MIX),
    "serving.expected.ttft_seconds": Quantity(
        "s", "time to the first token in the mix, waiting in line included", MIX, TTFT
    ),
    "serving.expected.tpot_seconds": Quantity("s", "mean time of each token after the first in the mix", MIX, TPOT),
    "serving.expected.latency_seconds": Quantity(
        "s", "from a request's coming to its last token in the mix", MIX, LATENCY
    ),
    "training.textbook.tokens_per_s": Quantity(
        "tokens/s",
        "training on one GPU, textbook: a third of prefill",
        f"{SLIDES}: 训练吞吐量",
        "throughput mfu 训练吞吐",
    ),
    "training.textbook.gpu_years": Quantity(
        "GPU-years", "of 365 days, for D tokens, textbook", f"{SLIDES}: 卡*年", "days cost 训练时间 卡年"
    ),
    "training.limit.tokens_per_s": Quantity(
        "tokens/s",
        "training on one GPU, limit: three causal forward passes at the peak",
        ROOFLINE,
        "throughput 训练吞吐",
    ),
    "training.limit.gpu_years": Quantity(
        "GPU-years", "of 365 days, for D tokens, limit", ROOFLINE, "days cost 训练时间 卡年"
    ),
    "training.expected.tokens_per_s": Quantity(
        "tokens/s",
        "forward and backward kernel by kernel; no optimizer step, no communication",
        DOCS,
        "throughput 训练吞吐",
    ),
    "training.expected.gpu_years": Quantity(
        "GPU-years", "of 365 days, for D tokens, expected", "as its rate", "days cost 训练时间 卡年"
    ),
    "training.state_bytes": Quantity(
        "B",
        "weights, gradients and Adam's state at 16 bytes a parameter",
        f"{WALK}: 显存占用, 训练",
        "vram optimizer adam gradients 优化器 训练显存",
    ),
}
"""Every figure of an estimate by its path, in the order of the JSON."""
