"""The lines that start an engine: against the engines' own parsers, and as a shell reads them."""

import json
import shlex
import subprocess
from pathlib import Path

import gguf_files as files
import pytest
import yaml

from llmcost import estimate, load_hardware, load_model
from llmcost.ground.errors import InputError, SpecError
from llmcost.serving.launch import launch_of, log_of
from llmcost.serving.launch_figures import Asked, figures_of, logged
from llmcost.specs.catalog import engine_of, load_engine, names, shipped
from llmcost.specs.engine_command import FIGURES, LOGGED
from llmcost.specs.reader import parse_yaml

HERE = Path(__file__).resolve().parent
PARSERS = json.loads((HERE / "engine_flags.json").read_text("utf-8"))  # flags that each engine's parser knows
ENGINES = [name for name in names("hardware/engines") if load_engine(name).command is not None]
GPU = "h200"
ONE_AT_A_TIME = {"concurrency": 1, "output": 1024}


def asked(model, engine, hw=None, **options):
    """A workload under an engine, ready to be launched."""
    hw = hw or ("m3-ultra" if engine == "mlx" else GPU)
    e = estimate(model, hw, engine=engine, **options)
    return Asked(load_model(model), load_hardware(hw), e.workload, e.memory, model)


def launched(*given, **options):
    of = asked(*given, **options)
    return launch_of(load_engine(of.workload.engine), of)


def words(line):
    """A command as a shell splits it: flags with their values, and what has no flag under ""."""
    found, flag = {"": []}, ""
    for word in shlex.split(line):
        if word.startswith("--"):
            flag, found[word] = word, ""
        elif flag:
            found[flag], flag = word, ""
        else:
            found[""].append(word)
    return found


LAYOUTS = [
    ("llama3.1-8b", {"tp": 1}),
    ("llama3.1-70b", {"tp": 4}),
    ("llama3.1-70b", {"tp": 2, "pp": 2}),
    ("llama3.1-8b", {"dp": 3}),
    ("deepseek-v3", {"tp": 8, "ep": 8}),
    ("deepseek-v3", {"dp": 16, "ep": 16}),
    ("deepseek-v3", {"tp": 8, "dp": 2, "ep": 16}),
    ("llama3.1-405b", {"tp": 8, "pp": 2}),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_flag_is_one_of_the_engines_own_parser_at_the_version_that_is_named(engine):
    command, parser = load_engine(engine).command, PARSERS[engine]
    flags = {each.flag for each in command.arguments} | {command.file_flag}
    assert flags - {""} <= set(parser["flags"].split())
    assert command.version == parser["version"]


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "mlx"])  # which runs on one Mac
@pytest.mark.parametrize(("model", "layout"), LAYOUTS)
def test_the_gpus_of_a_command_are_those_of_the_layout(engine, model, layout):
    """However an engine divides them: what its flags multiply to, times the servers, is the layout's product."""
    no_fp8 = {
        "vllm-0.2": "bf16",
        "llama.cpp": "q8_0",
        "llama.cpp-b2900": "q8_0",
        "mlc-llm": "fp16",
        "exllamav2": "fp16",
    }
    weights = no_fp8.get(engine) if "ep" in layout else None
    sizes = {"batch": 64, "context": 2048, "weight_dtype": weights} | layout
    known = load_engine(engine).layouts
    lacking = [each for each in layout if known and each != "dp" and each not in known and layout[each] > 1]
    if lacking:
        with pytest.raises(InputError, match=f"has no --({'|'.join(lacking)})"):
            asked(model, engine, **sizes)
        return
    of = asked(model, engine, **sizes)
    found = launch_of(load_engine(engine), of)
    if found.command is None:
        assert engine not in (
            "vllm",
            "vllm-0.33",
            "sglang",
            "sglang-0.5.23",
            "trtllm",
        )  # others have no experts apart, or no nodes
        return
    typed = words(found.command)
    degrees = {
        "vllm": ("--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size"),
        "sglang": ("--tp-size", "--pp-size", *(["--dp-size"] if "--enable-dp-attention" not in typed else [])),
        "sglang-0.5.23": ("--tp-size", "--pp-size", "--dp-size"),
        "vllm-0.33": ("--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size"),
        "vllm-0.6": ("--tensor-parallel-size", "--pipeline-parallel-size"),
        "trtllm": ("--tp_size", "--pp_size"),
        "vllm-0.12": ("--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size"),
        "vllm-0.10": ("--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size"),
        "vllm-0.2": ("--tensor-parallel-size",),
        "lmdeploy": ("--tp",),
    }.get(engine, ())
    gpus = 1
    if engine == "mlc-llm":
        told = dict(each.split("=") for each in typed["--overrides"].split(";"))
        gpus = int(told["tensor_parallel_shards"]) * int(told["pipeline_parallel_stages"])
    elif not degrees:  # those that are visible are divided among
        gpus = of.workload.tp * of.workload.pp
    for flag in degrees:
        gpus *= int(typed.get(flag, 1))
    servers = [int(line.split()[1]) for line in found.lines if "such servers" in line] or [1]
    assert gpus * servers[0] == of.workload.gpus


def test_a_command_has_the_figures_of_the_answer():
    of = asked(
        "llama3.1-70b", "vllm", tp=4, prompt=2000, output=500, concurrency=64, kv_dtype="fp8", weight_dtype="fp8"
    )
    assert words(launch_of(load_engine("vllm"), of).command) == {
        "": ["vllm", "serve", "meta-llama/Llama-3.1-70B"],
        "--tensor-parallel-size": "4",
        "--max-model-len": "3846",  # 2,500 is the mean of lengths from 0.3 of this on
        "--max-num-seqs": "1024",  # as vLLM has it on such a GPU
        "--max-num-batched-tokens": "8192",
        "--gpu-memory-utilization": "0.9",
        "--kv-cache-dtype": "fp8",
        "--quantization": "fp8",  # the checkpoint is bf16
    }
    # What is as the engine has it anyway is left away; what was asked for is there.
    eager = words(launched("llama3.1-8b", "vllm", cuda_graphs=False, memory_utilization=0.8, dtype="fp16").command)
    assert (eager["--enforce-eager"], eager["--gpu-memory-utilization"], eager["--dtype"]) == ("", "0.8", "float16")
    assert "--tensor-parallel-size" not in eager


@pytest.mark.parametrize(
    ("engine", "flag"),
    [("vllm-0.6", "--enable-prefix-caching"), ("lmdeploy", "--enable-prefix-caching"), ("vllm", None)],  # on by itself
)
def test_prompts_that_begin_alike_need_the_cache_that_finds_them(engine, flag):
    of = {"prompt": 1000, "output": 100, "concurrency": 4}
    found, plain = (words(launched("llama3.1-8b", engine, **of, **more).command) for more in ({"prefix_hit": 0.5}, {}))
    assert {*found} - {*plain} == ({flag} if flag else set())


def test_every_argument_says_why_and_where_from():
    for engine in ENGINES:
        found = launched("llama3.1-8b", engine)
        assert all(each.why and each.source.startswith("https://") for each in found.arguments), engine
        always = words(load_engine(engine).command.start)
        assert {each.flag for each in found.arguments} - {""} == {*words(found.command)} - {*always, ""}, engine


def test_sglangs_static_fraction_is_weights_and_cache_over_what_the_context_leaves():
    """Of a utilisation that the user gives. Its own rule finds the same share by itself: then no flag is typed."""
    of = asked("llama3.1-8b", "sglang", memory_utilization=0.9)
    m = of.memory
    free = m.usable_bytes - m.runtime_bytes
    cache = m.usable_bytes - m.set_aside_bytes - m.runtime_bytes - m.weights_bytes - m.activation_bytes
    typed = float(words(launch_of(load_engine("sglang"), of).command)["--mem-fraction-static"])
    assert typed == pytest.approx((m.weights_bytes + cache) / free, abs=1e-3)
    assert "--mem-fraction-static" not in words(launched("llama3.1-8b", "sglang").command)
    assert words(launched("llama3.1-8b", "sglang", mem_fraction_static=0.8).command)["--mem-fraction-static"] == "0.8"


@pytest.mark.parametrize(
    ("engine", "draft", "flags"),
    [
        ("vllm", "mtp", {"--speculative-config": {"method": "mtp", "num_speculative_tokens": 3}}),
        (
            *("vllm", 'a "b".yaml'),
            {"--speculative-config": {"model": 'a "b".yaml', "num_speculative_tokens": 3}},
        ),
        ("sglang", "mtp", {"--speculative-algorithm": "NEXTN", "--speculative-num-draft-tokens": "4"}),
        (
            *("sglang", "llama3.2-1b"),
            {
                "--speculative-algorithm": "STANDALONE",
                "--speculative-draft-model-path": "meta-llama/Llama-3.2-1B",
            },
        ),
        ("llama.cpp", "ngram", {"--spec-type": "ngram-simple", "--spec-ngram-simple-size-m": "3"}),
    ],
)
def test_speculation_is_told_in_the_engines_words(engine, draft, flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of_ones_own = (HERE.parent.parent / "models" / "llama3.2-1b.yaml").read_text("utf-8")
    Path('a "b".yaml').write_text(of_ones_own.replace("https://huggingface.co", "https://example.org"), "utf-8")
    typed = words(launched("qwen3-8b", engine, **ONE_AT_A_TIME, speculate=3, draft=draft).command)
    told = {flag: json.loads(typed[flag]) if isinstance(value, dict) else typed[flag] for flag, value in flags.items()}
    assert told == flags


def test_a_model_that_gives_no_tokens_is_served_as_one_that_pools_or_not_at_all(tmp_path):
    """Qwen3's files name a model that generates: nothing but the flag tells that its bare model is served."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = {"model_type": "qwen3", "vocab_size": 100, "max_position_embeddings": 512, "torch_dtype": "bfloat16"}
    (tmp_path / "config.json").write_text(json.dumps(sizes | config | {"num_key_value_heads": 2, "head_dim": 16}))
    flags = {"llama.cpp": {"--embedding": ""}} | {name: {"--is-embedding": ""} for name in ("sglang", "sglang-0.5.23")}
    flags |= {name: {"--runner": "pooling"} for name in ("vllm", "vllm-0.10", "vllm-0.12", "vllm-0.33")}
    model, gpu = load_model(str(tmp_path), kind="embedder"), load_hardware(GPU)
    for engine, own in flags.items():
        e = estimate(model, gpu, engine=engine)
        command = launch_of(load_engine(engine), Asked(model, gpu, e.workload, e.memory, str(tmp_path))).command
        assert own.items() <= words(command).items()
        assert not own.keys() & words(launched("llama3.1-8b", engine).command).keys()
        assert own.keys() <= set(PARSERS[engine]["flags"].split())
    e = estimate(model, gpu, engine="trtllm")
    refused = launch_of(load_engine("trtllm"), Asked(model, gpu, e.workload, e.memory, str(tmp_path))).missing
    assert refused.endswith("cannot say: whole sequences at once: the model gives no tokens")


def test_settings_without_a_flag_go_into_a_file_that_the_command_names(tmp_path):
    """TensorRT-LLM: the line that writes the file is run by a shell, and what it wrote is YAML."""
    spread = {"tp": 8, "dp": 2, "ep": 16, "kv_dtype": "fp8", "cuda_graphs": False}
    found = launched("deepseek-v3", "trtllm", **spread, **ONE_AT_A_TIME, speculate=2)
    subprocess.run(["/bin/sh", "-c", found.lines[0]], cwd=tmp_path, check=True)
    written = yaml.safe_load((tmp_path / words(found.command)["--config"]).read_text("utf-8"))
    assert written == {
        "enable_attention_dp": True,
        "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.9},
        "cuda_graph_config": None,
        "speculative_config": {"decoding_type": "MTP", "num_nextn_predict_layers": 2},
    }


def test_nodes_have_a_line_each_or_one_that_starts_them_all():
    vllm = launched("deepseek-v3", "vllm", dp=16, ep=16)
    first, other = [
        text.replace("\\\n", "") for text in "\n".join(vllm.lines).split("# On ")[1:] if not text.startswith("HEAD")
    ]
    assert "--node-rank 0" in first
    assert other.startswith("the other node, NODE_RANK being 1:\n")  # not: every other node, being 1 to 1
    assert "--headless" not in first
    assert '--node-rank "$NODE_RANK" ' in other
    assert other.rstrip().endswith("--headless")
    trtllm = launched("deepseek-v3", "trtllm", tp=8, dp=2, ep=16)
    assert trtllm.command.startswith("srun --nodes 2 --ntasks 16 --mpi=pmix trtllm-llmapi-launch trtllm-serve ")


@pytest.mark.parametrize("folder", ["my model", "it's", "$(touch x)", "a;b", "--flag", "né", 'q"q', "`id`", "a\nb"])
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_shell_reads_a_folder_as_one_word_whatever_its_name(engine, folder, tmp_path):
    place = tmp_path / folder
    place.mkdir()
    of = asked("llama3.1-8b", engine)._replace(name=str(place))
    of = of._replace(model=of.model._replace(source=str(place / "config.json")))
    lines = "\n".join(launch_of(load_engine(engine), of).lines)
    start = load_engine(engine).command.start
    shell = lines.replace(start, "printf '%s\\0'", 1)
    printed = subprocess.run(["/bin/sh", "-c", shell], cwd=tmp_path, capture_output=True, check=True).stdout
    assert str(place) in printed.decode("utf-8").split("\0")
    assert not (tmp_path / "x").exists()


def test_remarks_stay_in_their_line_whatever_the_model_is_called():
    of = asked("llama3.1-8b", "vllm", weight_dtype="int4-g128")
    of = of._replace(model=of.model._replace(title="a\ntouch x", name="b\ntouch y"))
    lines = launch_of(load_engine("vllm"), of).lines
    assert [line for line in lines if line.startswith("touch")] == []
    assert lines[0].startswith("# /path/to/b touch y-int4-g128: where the weights of a touch x")


def test_weights_are_named_where_they_can_be_had():
    def place(model, engine, **options):
        return launched(model, engine, **options).arguments[0].value

    assert place("llama3.1-8b", "vllm") == "meta-llama/Llama-3.1-8B"
    assert place("llama3.1-8b", "vllm", weight_dtype="fp8") == "meta-llama/Llama-3.1-8B"  # vLLM makes fp8 of bf16
    assert place("llama3.1-8b", "vllm", weight_dtype="int4-g128") == "/path/to/llama3.1-8b-int4-g128"
    assert place("llama3.1-8b", "vllm", dtype="fp16") == "meta-llama/Llama-3.1-8B"  # cast while it is loaded
    assert place("deepseek-v3", "vllm", tp=8) == "deepseek-ai/DeepSeek-V3"  # fp8 in blocks, as published
    assert place("llama3.1-8b", "llama.cpp", weight_dtype="q4_k_m") == "/path/to/llama3.1-8b-q4_k_m.gguf"


@pytest.mark.parametrize(
    ("model", "hw", "offload", "flags"),
    [
        ("llama3.1-8b", "rtx4090", None, {"--n-gpu-layers": "all"}),
        ("llama3-70b", "rtx4090", "layers:50", {"--n-gpu-layers": "31"}),  # 80 layers and the output's, less 50
        ("mixtral-8x7b", "rtx4090", "experts", {"--n-gpu-layers": "all", "--cpu-moe": ""}),
        ("mixtral-8x7b", "rtx4090", "experts:32", {"--n-gpu-layers": "all", "--cpu-moe": ""}),  # of its 32 layers
        ("mixtral-8x7b", "rtx4090", "experts:10", {"--n-gpu-layers": "all", "--n-cpu-moe": "10"}),
        ("llama3.1-8b", "epyc-9654", None, {"--device": "none"}),
    ],
)
def test_llama_cpp_is_told_what_is_on_the_host(model, hw, offload, flags):
    options = {} if offload is None else {"offload": offload, "host": "epyc-9654"}
    typed = words(launched(model, "llama.cpp", hw, weight_dtype="q4_k_m", **options).command)
    told = {flag: typed[flag] for flag in ("--n-gpu-layers", "--cpu-moe", "--n-cpu-moe", "--device") if flag in typed}
    assert told == flags


def test_layers_without_experts_are_told_of_where_llama_cpp_counts_from_the_first():
    options = {"weight_dtype": "q4_k_m", "offload": "experts:55", "host": "epyc-9755"}
    found = launched("deepseek-v3", "llama.cpp", "l40s", **options)
    assert "55 layers with experts, counted from the first layer" in found.lines[0]
    assert "of 3 such layers" in found.lines[0]


def test_a_models_file_is_as_large_wherever_its_parts_are():
    whole = logged(asked("mixtral-8x7b", "llama.cpp", "a100-80gb-sxm", weight_dtype="q4_k_m"))
    parts = logged(
        asked("mixtral-8x7b", "llama.cpp", "rtx4090", weight_dtype="q4_k_m", offload="experts", host="epyc-9654")
    )
    layers = logged(
        asked("mixtral-8x7b", "llama.cpp", "rtx4090", weight_dtype="q4_k_m", offload="layers:20", host="epyc-9654")
    )
    assert parts["model_gib"] == layers["model_gib"] == pytest.approx(whole["model_gib"])
    assert [of["layers_on_gpus"] for of in (whole, parts, layers)] == [33, 33, 13]
    on_cpu = log_of(load_engine("llama.cpp"), asked("llama3.1-8b", "llama.cpp", "epyc-9654"))
    assert [each for each in on_cpu if "GPU" in each.line] == []


def test_the_cache_of_llama_cpp_is_in_fp16_unless_it_is_told_otherwise():
    of = asked("llama3.1-8b", "llama.cpp", weight_dtype="bf16")
    assert (of.workload.dtype, of.workload.kv_dtype) == ("bf16", "fp16")
    typed = words(launch_of(load_engine("llama.cpp"), of).command)
    assert "--cache-type-k" not in typed
    bf16 = words(launched("llama3.1-8b", "llama.cpp", weight_dtype="bf16", kv_dtype="bf16").command)
    assert (bf16["--cache-type-k"], bf16["--cache-type-v"]) == ("bf16", "bf16")


def test_llama_cpp_has_four_slots_of_a_mix_and_as_many_as_a_batch_has():
    mix = {"prompt": 500, "output": 100}
    slots = {
        what: words(launched("llama3.1-8b", "llama.cpp", **options).command)["--parallel"]
        for what, options in {
            "one": {},
            "batch": {"batch": 8, "context": 600},
            "mix": {**mix, "concurrency": 8},
            "told": {**mix, "concurrency": 8, "max_num_seqs": 2},
        }.items()
    }
    assert slots == {"one": "1", "batch": "8", "mix": "4", "told": "2"}


def test_llama_cpp_reads_the_file_that_was_asked_about(tmp_path):
    """Of a split one the first part, of a folder the one in it; another format is another file."""
    file = files.written(tmp_path / "a-00001-of-00001.gguf", *files.llama3_8b())
    for name in (str(file), str(tmp_path)):
        assert launched(name, "llama.cpp").arguments[0].value == str(file)
    assert launched(str(file), "llama.cpp", weight_dtype="q8_0").arguments[0].value.startswith("/path/to/")


@pytest.mark.parametrize(
    ("engine", "options", "why"),
    [
        ("gpt-fast", {}, "of gpt-fast no command is known that starts a server: generate.py answers the prompts"),
        ("transformers", {"tp": 2}, "the command of Hugging Face transformers 5.24.0 cannot say: GPUs that a layer is"),
        ("vllm", {"model": "llama3.1-405b"}, "llama3.1-405b does not fit on NVIDIA H200"),
        ("vllm", {"kv_dtype": "int4"}, "vLLM 0.19.1 has no --kv-cache-dtype for data type of the KV cache"),
        (
            "vllm",
            {"model": "mixtral-8x7b", "tp": 4, "ep": 2},
            "has no --enable-expert-parallel for experts partly: there",
        ),
        (
            "vllm",
            {"free_memory_fraction": 0.8},
            "the command of vLLM 0.19.1 cannot say: the cache's share of what the model leaves (0.8)",
        ),
        (
            "llama.cpp",
            {"gpus": 16, "model": "llama3.1-405b"},
            "the command of llama.cpp of September 2026 (00dc8057) cannot say: nodes of one server (2)",
        ),
    ],
)
def test_what_an_engine_cannot_be_told_has_no_command_and_says_why(engine, options, why):
    found = launched(options.pop("model", "llama3.1-8b"), engine, **options)
    assert (found.command, found.lines, found.arguments) == (None, (), ())
    assert why in found.missing


def test_every_figure_has_a_value_and_a_meaning():
    of = asked("llama3.1-8b", "vllm")
    assert figures_of(load_engine("vllm").command, of).keys() == FIGURES.keys()
    assert logged(of).keys() == LOGGED.keys()


BROKEN = {
    "an unknown source": (
        "source: cli}\n",
        "source: nobody}\n",
        "arguments.0.source: 'nobody' is not one of this file's",
    ),
    "an unsourced argument": (", source: cli}\n", "}\n", "arguments.0.source: this field is missing"),
    "an unknown figure": ("figure: tp,", "figure: degree,", "command.arguments.1.figure: must be 'model', 'tp'"),
    "an unknown field": (
        "unless: 1,",
        "unlike: 1,",
        "command.arguments.1.unlike: not a field that is understood; did you",
    ),
    "a figure in brackets": (
        "<speculate>}'\n",
        "<guesses>}'\n",
        "words.mtp: <guesses> is no figure; there are model, tp",
    ),
    "a format": ("<kv_tokens:,>", "<kv_tokens:x>", "log.2.line: the format 'x' is none of '', ','"),
    "a setting without a file": (
        "flag: --max-num-seqs",
        "setting: seqs",
        "no file is named that it would be written to",
    ),
}


@pytest.mark.parametrize("change", BROKEN)
def test_an_engine_file_with_a_wrong_command_is_refused_with_its_line(change):
    text = (shipped("hardware/engines") / "vllm.yaml").read_text("utf-8")
    old, new, problem = BROKEN[change]
    with pytest.raises(SpecError) as refusal:
        engine_of(parse_yaml(text.replace(old, new, 1), "mine.yaml"))
    assert problem in str(refusal.value)
    assert str(refusal.value).startswith(f"mine.yaml:{refusal.value.line}: ")
    assert refusal.value.line > text[: text.index("command:")].count("\n")


REPORTED = yaml.safe_load((HERE / "engine_logs.yaml").read_text("utf-8"))
PAGE = HERE.parent.parent / "docs" / "engines.md"


def predicted(row):
    """Our figures for what an engine printed.

    Where tokens are given, the bytes of so many; where what is left for the cache is, the requests that it has room
    for.
    """
    of = asked(row["model"], row["engine"], row["hw"], **row["options"])
    figures = logged(of)
    if "room" in row:
        figures |= {name: figures[name] * row["room"] / figures["room_gib"] for name in ("fitting", "fitting_tokens")}
    if "tokens" in row:
        figures["kv_gib"] *= row["tokens"] / figures["kv_tokens"]
    return {name: figures[name] for name in row["prints"]}


@pytest.mark.parametrize("row", REPORTED, ids=lambda row: f"{row['engine']}-{row['model']}-{row['hw']}")
def test_what_the_log_says_is_what_engines_were_reported_to_print(row):
    off = {name: value / row["prints"][name] - 1 for name, value in predicted(row).items()}
    assert max(map(abs, off.values())) <= row["within"] + 1e-9, off


def test_the_page_shows_how_far_off_each_figure_is(request):
    head = "| engine | model | GPU | figure | printed | ours | off by |\n|---|---|---|---|---:|---:|---:|\n"
    table = head + "".join(
        f"| {row['engine'].partition('-')[0]} {row['version']} | {row['model']} | {row['hw']} | "
        f"{LOGGED[name]} | [{printed:,}]({row['url']}) | {ours:,.{0 if isinstance(printed, int) else 2}f} | "
        f"{ours / printed - 1:+.1%} |\n"
        for row in REPORTED
        for (name, printed), ours in zip(row["prints"].items(), predicted(row).values(), strict=True)
    )
    text = PAGE.read_text("utf-8")
    before, rest = text.split("<!-- logs -->\n")
    _, after = rest.split("<!-- end of logs -->\n")
    shown = f"{before}<!-- logs -->\n{table}<!-- end of logs -->\n{after}"
    if request.config.getoption("--update-snapshots"):
        PAGE.write_text(shown, "utf-8")
    assert text == shown or request.config.getoption("--update-snapshots")


def test_the_lines_of_a_log_are_the_engines_with_our_figures_in_them():
    of = asked("llama3.1-8b", "vllm", "rtx4090", context=32768)
    figures = logged(of)
    assert [each.line for each in log_of(load_engine("vllm"), of)] == [
        "Model loading took 14.96 GiB memory and … seconds",  # 8,030,261,248 parameters in 2 bytes
        f"Available KV cache memory: {figures['room_gib']:.2f} GiB",
        f"GPU KV cache size: {figures['kv_tokens']:,} tokens",
        f"Maximum concurrency for 32,768 tokens per request: {figures['room_gib'] * 2**30 / (32768 * 131072):.2f}x",
    ]
    assert figures["kv_tokens"] == figures["room_gib"] * 2**30 // (16 * 131072) * 16  # blocks of 16 tokens of 128 KiB
    latents = [each.line for each in log_of(load_engine("sglang"), asked("deepseek-v3", "sglang", tp=8))]
    assert any("#tokens" in line and "KV size" in line for line in latents)
    assert not any("K size" in line for line in latents)  # latents are neither keys nor values
