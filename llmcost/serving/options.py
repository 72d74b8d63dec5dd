"""What may be chosen of a model that serves.

Each option is declared here once, and nowhere else: `llmcost.ground.options` says what comes of it.
"""

from typing import Annotated, NamedTuple, TypeAlias

from llmcost.ground.algebra import Number
from llmcost.ground.errors import InputError, shortened
from llmcost.ground.options import Option, Word, count, declared, flag, length, number, share, word
from llmcost.machine.textbook import END_TO_END_MFU
from llmcost.model.formats import CACHES, FORMATS
from llmcost.model.operators.routing import LAWS, routing_of
from llmcost.specs.hardware import PCIE
from llmcost.specs.optimised import OPTIMISED, parse_engine

COMPUTE_DTYPES = ("bf16", "fp16", "fp8", "int8", "fp4", "tf32", "fp32")
GGUF_CACHES = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")  # llama.cpp's --cache-type-k: blocks with their scales
STORAGE_DTYPES = ("bf16", "fp16", "fp8", "int8", "int4", "fp4", "fp32", "nvfp4", *CACHES, *GGUF_CACHES)
WEIGHT_DTYPES = ("bf16", "fp16", "fp32", *FORMATS)
MOST_GPUS = 10**6
MOST_TOKENS = 10**16
LEAST_RATE = 1e-6  # requests a second
MOST_PUE = 100
CHUNK, SMALL_CHUNK, LARGE_MEMORY = 8192, 2048, 70 * 2**30  # tokens, and bytes of memory from which it is the larger one
USUAL_UTILIZATION = 0.9  # of the memory, where no engine says another share
MOST_SPECULATED = 15  # tokens: a block of the cache holds them and the next one
GATHER = "gather"  # all-gather of all tokens, reduce-scatter of what experts make of them
ALL2ALL = ("alltoall", "deepep", "hybridep", GATHER)  # libraries of hardware/collectives, and that
# Options that change such a mix alone, of which those of pools say where prompts run apart from decode.
OF_PROMPTS = ("tp", "pp", "ep", "chunk")  # that replicas which run prompts may have of their own, with prefill_ before
OF_POOLS = ("prefill_gpus", *(f"prefill_{name}" for name in OF_PROMPTS), "decode_gpus", "layerwise")
OF_A_MIX = ("prefix_hit", "range_ratio", "speculate", "accept", "draft", *OF_POOLS)
AT_ONCE = ("max_num_seqs", "reserve_output")  # options of a mix, or of the memory that an engine takes for it
MIXES = ("concurrency", "rate", "requests")  # options that ask for a mix of requests


def _more_than_none(option: str, value: float) -> None:
    """Raise InputError for a rate of arrival that is not above 0, below one request in 12 days, or without end."""
    if not LEAST_RATE <= value < MOST_TOKENS:
        raise InputError(f"{option} {value:g}: more than 0 requests a second, at least {LEAST_RATE:g}")


# Options that training has too.
Tp: TypeAlias = Annotated[
    Number,
    count(
        "Tensor parallelism: GPUs that a layer is split over.",
        "DEGREE",
        MOST_GPUS,
        default="1, or as --gpus is laid out",
        letter="tp",
        meaning="GPUs that a layer is split over",
    ),
]
Pp: TypeAlias = Annotated[
    Number,
    count(
        "Pipeline parallelism: stages, each with its layers.",
        "DEGREE",
        MOST_GPUS,
        default="1, or as --gpus is laid out",
        letter="pp",
        meaning="pipeline stages",
    ),
]
GpusPerNode: TypeAlias = Annotated[
    Number,
    count(
        "GPUs that the fast links join.",
        most=MOST_GPUS,
        default="as the GPU's spec says, or 8",
        letter="node",
        meaning="GPUs in a node",
    ),
]
Host: TypeAlias = Annotated[
    Word, Option("The CPU that runs what --offload says: a shipped name or a YAML spec.", default="none")
]
Mfu: TypeAlias = Annotated[
    Number,
    share("Share of the peak that the textbook basis assumes.", letter="mfu", meaning="assumed share of the peak"),
]


def _check_pue(option: str, value: float) -> None:
    """Raise InputError for a factor of energy that no data centre has."""
    if not 1 <= value <= MOST_PUE:
        raise InputError(f"{option} {value:g}: the data centre's energy over its GPUs', from 1 to {MOST_PUE}")


All2all: TypeAlias = Annotated[
    Word,
    word(
        "How tokens go to experts on other GPUs and back, where --ep spreads them: by a library, or, in serving, "
        "all to all GPUs (gather).",
        ALL2ALL,
        default="none in particular: once to each GPU",
    ),
]
Pue: TypeAlias = Annotated[
    Number, number("Energy of the data centre over that of its GPUs.", "FACTOR", check=_check_pue)
]
TrainingTokens: TypeAlias = Annotated[
    Number,
    count("Length of the training run.", "TOKENS", MOST_TOKENS, default="15T", letter="D", meaning="training tokens"),
]


def _read_routing(text: str) -> str:
    """The name of a law of routing, also as tables of kernel times write it: power_law_1.01."""
    name = text.lower().replace("_", "-")
    law, exponent = name[:9], name[10:]
    return f"{law}:{exponent}" if law == "power-law" and exponent else name


def _check_routing(option: str, value: str) -> None:
    """Raise InputError for a text that names no law of routing."""
    try:
        routing_of(value)
    except ValueError as error:
        raise InputError(f"{option} {value}: {error}") from None


def _read_offload(text: str) -> str:
    """What is on the host; also as llama.cpp's options are called."""
    name = text.lower().replace(" ", "").replace("=", ":")
    return {"moe": "experts", "cpu-moe": "experts"}.get(name, name)


def _check_offload(option: str, value: str) -> None:
    """Raise InputError for a text that names no part of a model."""
    part, _, count = value.partition(":")
    counted = part in ("experts", "layers") and count.isascii() and count.isdigit() and len(count) < 6
    if value != "experts" and not counted:
        raise InputError(f"{option} {shortened(value)}: experts, those of some layers (experts:20), or layers:20")


IMAGE_SIZE = "1024x1024"  # of images, unless another is asked for
LARGEST_SIDE = 100_000  # pixels


def _read_size(text: str) -> str:
    """Width and height of an image, such as 1024x768, written with an x."""
    return text.lower().replace("×", "x").replace(" ", "")


def _check_size(option: str, value: str) -> None:
    """Raise InputError for a text that is no width and height."""
    sides = value.split("x")
    if len(sides) != 2 or not all(
        side.isascii() and side.isdigit() and 0 < int(side) <= LARGEST_SIDE for side in sides
    ):
        raise InputError(f"{option} {value[:40]}: width and height in pixels, such as 1024x768")


def _check_share(option: str, value: float) -> None:
    """Raise InputError for what is no share; none and all are some."""
    if not 0 <= value <= 1:
        raise InputError(f"{option} {value:g}: a share from 0 to 1")


def _check_seconds(option: str, value: float) -> None:
    """Raise InputError for a length of sound that is not above 0, or longer than a day."""
    if not 0 < value <= 86_400:
        raise InputError(f"{option} {value:g}: seconds, more than 0 and at most a day")


class Options(NamedTuple):
    """What the user may choose, and, with every default filled in, the workload that is computed.

    None stands for the default beside it. In a workload it stands for what was not asked for: without `output`, no
    request is followed to its end; without `images` and `audio`, prompts are text; without `chunk` (under
    `batch_prompts`), prompts run in one piece; without
    `concurrency`, `rate` and `requests`, there is no mix of requests. Sizes may be numbers, arrays or symbols.
    """

    batch: Annotated[
        Number, count("Sequences at a time.", "SEQUENCES", short="-b", letter="b", meaning="batch: sequences")
    ] = 1
    context: Annotated[
        Number,
        length(
            "Cached tokens at which decode is evaluated.",
            short="-c",
            default="--prompt + --output, or 8192 or the model's maximum",
            letter="c",
            meaning="context: keys that a token sees",
        ),
    ] = None
    prompt: Annotated[
        Number,
        length(
            "Tokens of the prompt.",
            default="--context less --output",
            letter="s",
            meaning="tokens of a prompt or training sequence",
        ),
    ] = None
    output: Annotated[
        Number,
        length("Tokens of the answer: also times a whole request.", letter="o", meaning="output: tokens of a request"),
    ] = None
    images: Annotated[
        Number, count("Images in each prompt, whose tokens are among the prompt's.", "IMAGES", most=10_000)
    ] = None
    image_size: Annotated[
        Word,
        Option(
            "Width and height of the images in pixels.",
            _read_size,
            "WxH",
            _check_size,
            default="1024x1024 where there are any",
        ),
    ] = None
    audio: Annotated[
        Number,
        number(
            "Seconds of sound in each prompt, whose tokens are among the prompt's.", "SECONDS", check=_check_seconds
        ),
    ] = None
    chunk: Annotated[
        Number,
        length(
            "Tokens of prompts that run at a time, as vLLM's max-num-batched-tokens.",
            default="8192, or 2048 on a GPU of less than 70 GiB",
            letter="ch",
            meaning="tokens of prompts that run at a time, at most",
        ),
    ] = None
    concurrency: Annotated[
        Number,
        count(
            "Requests in flight under continuous batching; needs --output.",
            "REQUESTS",
            letter="N",
            meaning="concurrency: requests in flight",
        ),
    ] = None
    max_num_seqs: Annotated[
        Number,
        count(
            "Requests that a data-parallel rank runs at a time, at most.",
            "REQUESTS",
            default="the engine's, or no bound",
            letter="n_max",
            meaning="requests that a rank runs at a time, at most",
        ),
    ] = None
    rate: Annotated[
        Number,
        number(
            "Requests a second that arrive at random times; needs --output.",
            "R",
            check=_more_than_none,
            letter="λ",
            meaning="requests a second that arrive",
        ),
    ] = None
    requests: Annotated[
        Number,
        count(
            "Requests of a batch job, or with --rate in all; needs --output.",
            letter="R",
            meaning="requests of a batch job",
        ),
    ] = None
    prefix_hit: Annotated[
        Number,
        number(
            "Share of each prompt that others begin with too, and that the cache still holds.",
            "SHARE",
            check=_check_share,
            default="0",
            letter="p",
            meaning="share of a prompt that the prefix cache holds",
        ),
    ] = None
    range_ratio: Annotated[
        Number,
        share(
            "Lengths are drawn from this share of --prompt and --output to all of it; 1: all alike.",
            default="1 in simulate; elsewhere they are means of lengths that differ",
        ),
    ] = None
    speculate: Annotated[
        Number,
        count("Tokens that are guessed and verified in a step.", "K", MOST_SPECULATED, 0, default="none"),
    ] = None
    accept: Annotated[
        Number,
        number(
            "Share of the guesses that are right, where those before are.",
            "SHARE",
            check=_check_share,
            letter="α",
            meaning="share of the guesses that are right, where those before are",
        ),
    ] = 0.8
    draft: Annotated[
        str, Option("What guesses: mtp (a layer of the model's own), ngram (free), or another model.", metavar="WHAT")
    ] = "mtp"
    prefill_gpus: Annotated[
        Number,
        count("GPUs that run prompts apart from decode, in replicas of their own layout.", most=MOST_GPUS),
    ] = None
    decode_gpus: Annotated[
        Number,
        count("GPUs that decode, where prompts run apart; in replicas of --tp, --pp and --ep.", most=MOST_GPUS),
    ] = None
    prefill_tp: Annotated[
        Number, count("--tp of replicas that run prompts apart.", "DEGREE", MOST_GPUS, default="--tp")
    ] = None
    prefill_pp: Annotated[
        Number, count("--pp of replicas that run prompts apart.", "DEGREE", MOST_GPUS, default="--pp")
    ] = None
    prefill_ep: Annotated[
        Number, count("--ep of replicas that run prompts apart.", "DEGREE", MOST_GPUS, default="--ep")
    ] = None
    prefill_chunk: Annotated[
        Number,
        length("--chunk of replicas that run prompts apart.", default="--chunk, or the engine's for their layout"),
    ] = None
    layerwise: Annotated[
        bool, flag("Send keys and values of each layer while the next one runs, where prompts run apart.")
    ] = False
    dtype: Annotated[
        Word,
        word(
            "Data type of computing and activations; or a format of weights, as --weight-dtype.",
            tuple(dict.fromkeys((*COMPUTE_DTYPES, *WEIGHT_DTYPES))),
            "TYPE",
            default="the weights', bf16, fp16: the first that the GPU has",
        ),
    ] = None
    weight_dtype: Annotated[
        Word,
        word(
            "Data type of the linear layers' weights.",
            WEIGHT_DTYPES,
            "TYPE",
            parts=2,  # of most linear layers and of the experts, as in fp8+mxfp4
            default="the model's own, or that of computing",
        ),
    ] = None
    kv_dtype: Annotated[
        Word, word("Data type of the KV cache.", STORAGE_DTYPES, "TYPE", default="that of computing")
    ] = None
    attention_dtype: Annotated[
        Word,
        word(
            "Data type that attention computes in, for engines that do so in fp8 where the cache is fp8.",
            COMPUTE_DTYPES,
            "TYPE",
            default="that of activations, whatever the cache is kept in",
        ),
    ] = None
    head_dtype: Annotated[
        Word,
        word(
            "Data type of the LM head, for engines that quantise it too.",
            WEIGHT_DTYPES,
            "TYPE",
            default="that of the embedding",
        ),
    ] = None
    logits: Annotated[
        str, word("Logits of a prompt's last token; all: where every token is scored.", ("last", "all"))
    ] = "last"
    routing: Annotated[
        str,
        Option(
            "How experts share the tokens: uniform (drawn at random), balanced, power-law:A.",
            _read_routing,
            "LAW",
            _check_routing,
        ),
    ] = LAWS[0]
    engine: Annotated[
        Word,
        Option(
            "The engine that serves: a shipped name (llmcost engines), a YAML spec, or optimised: none in particular.",
            parse_engine,
            default="vllm for a mix of requests, mlx on a Mac, llama.cpp for GGUF; else optimised",
        ),
    ] = None
    cuda_graphs: Annotated[
        bool | None,
        flag(
            "Start kernels by CUDA graphs, or one by one, as with vLLM's --enforce-eager.",
            default="as the engine does, or by graphs",
        ),
    ] = None
    gpus: Annotated[
        Number,
        count(
            "GPUs in all; without degrees, --tp in a node and --pp across nodes.",
            most=MOST_GPUS,
            default="the product of the degrees",
        ),
    ] = None
    tp: Tp = None
    pp: Pp = None
    dp: Annotated[
        Number,
        count(
            "Data parallelism: ranks, each with its sequences.",
            "DEGREE",
            MOST_GPUS,
            default="--ep over --tp",
            letter="dp",
            meaning="data-parallel ranks, each with its sequences",
        ),
    ] = None
    ep: Annotated[
        Number,
        count(
            "Expert parallelism: GPUs, of a stage's tp·dp, that share experts.",
            "DEGREE",
            MOST_GPUS,
            default="1",
            letter="ep",
            meaning="GPUs that experts are spread over",
        ),
    ] = None
    gpus_per_node: GpusPerNode = None
    link: Annotated[
        Word,
        word(
            "What joins a node's GPUs, for servers without the GPU's own link.",
            tuple(PCIE),
            default="the fastest link that the GPU has",
        ),
    ] = None
    all2all: All2all = None
    offload: Annotated[
        Word,
        Option(
            "What stands in the host's memory: experts (experts:N of N layers), or layers:N; needs --host.",
            _read_offload,
            "PART",
            _check_offload,
            default="nothing",
        ),
    ] = None
    host: Host = None
    mfu: Mfu = END_TO_END_MFU
    memory_utilization: Annotated[
        Number,
        share(
            "Share of the GPU's memory that may be used, as vLLM's.",
            default="the engine's own, or 0.9",
            letter="u",
            meaning="share of the memory in use",
        ),
    ] = None
    free_memory_fraction: Annotated[
        Number,
        share(
            "The cache's share of what the model leaves, for engines that set that (TensorRT-LLM).",
            default="--memory-utilization holds",
            letter="f",
            meaning="share of the memory that the model leaves for the cache",
        ),
    ] = None
    mem_fraction_static: Annotated[
        Number,
        share(
            "Share for weights and cache of what the runtime leaves, for engines that set that (SGLang).",
            default="by the engine's own rule, or --memory-utilization holds",
            letter="static",
            meaning="share for weights and cache of what the runtime leaves",
        ),
    ] = None
    batch_prompts: Annotated[
        bool, flag("Hold activations of all prompts at once, for engines that run them together.")
    ] = False
    communicator: Annotated[bool, flag("Count NCCL's buffers on one GPU too, for engines that always set it up.")] = (
        False
    )
    reserve_output: Annotated[
        bool, flag("Start a request only if all its output has room, for engines that never evict.")
    ] = False
    tokens: TrainingTokens = 15 * 10**12
    profile: Annotated[
        Word,
        Option(
            "A profile measured by llmcost bench.", metavar="FILE", default="the one shipped for the GPU, if there is"
        ),
    ] = None

    def of_no_program(self) -> bool:
        """Whether no engine is named, or the one that is no program."""
        return self.engine in (None, OPTIMISED)

    def is_mix(self) -> bool:
        """Whether there is a mix of requests."""
        return any(getattr(self, name) is not None for name in MIXES)

    def all_gpus(self) -> Number:
        """GPUs in all: of a workload whose prompts run apart, those that run them too."""
        return self.gpus if self.prefill_gpus is None else self.prefill_gpus + self.decode_gpus

    def without_mix(self) -> "Options":
        """The same where no requests come: of a batch, or of the model itself."""
        gone = (*MIXES, *OF_A_MIX, *(AT_ONCE if self.of_no_program() else ()))
        return self._replace(**{name: Options._field_defaults[name] for name in gone})

    def refuse_alone(self) -> None:
        """Raise InputError for an option that changes nothing without another one, where that is not given."""
        known = declared(Options)
        pools = dict.fromkeys([name for name in OF_POOLS if name != "prefill_gpus"], "prefill_gpus")
        needs = {"accept": "speculate", "draft": "speculate", **pools, "prefill_gpus": "decode_gpus"}
        for name, needed in needs.items():
            if getattr(self, name) != known[name].value and not getattr(self, needed):
                told = known[name].typed(getattr(self, name))
                raise InputError(f"{told}: it changes nothing alone; give {known[needed].flag} too")

    def at_most(self) -> list[Number]:
        """Bounds on the requests that are in flight at a time, as far as they are given."""
        return [amount for amount in (self.concurrency, self.requests) if amount is not None]


Workload: TypeAlias = Options  # with every default filled in

DEGREES = ("tp", "pp", "dp", "ep")  # 1 is structure: nothing is divided by it
LAYOUT = ("gpus", *DEGREES, "gpus_per_node")
# Options that are sizes, which formulas take as numbers, arrays or symbols. The others shape the formulas.
SIZES = tuple(name for name, option in declared(Options).items() if option.letter and name not in LAYOUT)
# Options that say what a GPU does, or how much of one is used: without a GPU they change no figure.
OF_A_GPU = (
    "profile", "cuda_graphs", "link", "all2all", "offload", "host", "mfu", "memory_utilization", "free_memory_fraction",
    "mem_fraction_static", "batch_prompts", "communicator", "reserve_output", "tokens", *OF_A_MIX,
)  # fmt: skip
BASES = ("textbook", "limit", "expected")
PHASES = ("prefill", "decode", "train")  # of which operators are listed
