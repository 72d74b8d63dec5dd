"""Both source documents, figure by figure: exact out of our engine, printed by the document's own convention.

golden.yaml holds the figures. What is here is where each of them comes from in the engine (EXACT), and what a
document did where its figure is no plain rounding (AS_PRINTED). Nothing is computed from golden.yaml itself.
"""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from uniform import is_gated, size

from llmcost.formulas.serving import explain
from llmcost.machine import textbook
from llmcost.model.architecture import operators
from llmcost.model.counting import count_pass
from llmcost.model.sizes import Load, element_bytes
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_hardware, load_model

GOLDEN = yaml.safe_load((Path(__file__).parents[1] / "golden.yaml").read_text(encoding="utf-8"))
MODEL_TABLE = GOLDEN["slides"]["model_table"]
SYMBOL_TABLE = GOLDEN["walk"]["symbol_table"]
FIGURES = {entry["id"]: entry for document in ("slides", "walk") for entry in GOLDEN[document]["figures"]}
PLAIN = [key for key, entry in FIGURES.items() if entry["verdict"] == "rounds" and entry["unit"] != "FLOPs a parameter"]
ERRATA = [key for key, entry in FIGURES.items() if entry["verdict"] == "erratum"]

SCALES = {"G": 10**9, "GB": 10**9, "B": 10**9, "M": 10**6, "T": 10**12, "%": Fraction(1, 100)}  # any other unit: 1
GIB = 2**30

MODEL, GPU = load_model("llama3-8b"), load_hardware("rtx4090")
SLIDES = estimate(
    MODEL, GPU
)  # the defaults are the slides' case: 8192 tokens, one sequence, 16 bits, MFU 0.5, 15T tokens
PARAMS, TOKEN = SLIDES.model.params, SLIDES.flops.per_token
STEP = operators(MODEL, element_bytes("bf16", "bf16", "bf16"), Load(b=1, s=1, c=8192))
PEAK, BANDWIDTH = GPU.peak["bf16"].value, GPU.bandwidth.value
A100 = load_hardware("a100-80gb-sxm")


def of_part(part, method, *arguments):
    """A figure of the operators of one part of the model, all their executions."""
    return sum(op.count * getattr(op, method)(*arguments) for op in STEP if op.part == part)


def mlp_as_printed():
    return round(of_part("mlp", "flops", False) / 1e9, 1)


def projection_flops():
    return sum(op.count * op.flops(causal=False) for op in STEP if op.name in ("qkv_proj", "o_proj"))


def tokens_an_iteration():
    """12 sequences a GPU, 5 steps of accumulation, 8 GPUs, of nanoGPT's whole block each."""
    w = estimate(load_model("nanogpt-124m"), None, Options(batch=12 * 5 * 8)).workload
    return w.batch * w.prompt


def gpt3_seconds():
    """175B parameters, 300B tokens, 1024 A100 at an MFU of 0.45, activations recomputed."""
    peak = A100.peak["bf16"].value
    return textbook.training_seconds(175 * 10**9, 300 * 10**9, 1024, peak, 0.45, textbook.RECOMPUTE_FLOPS_PER_PARAM)


EXACT = {
    "mlp_params": lambda: PARAMS.mlp,
    "mlp_macs_a_token": lambda: of_part("mlp", "flops", False) / 2,
    "mlp_flops_a_token": lambda: of_part("mlp", "flops", False),
    "qkvo_params": lambda: PARAMS.attention,
    "qkvo_macs_a_token": lambda: projection_flops() / 2,
    "qkvo_flops_a_token": projection_flops,
    "sdpa_macs_a_token": lambda: TOKEN.attention / 2,
    "sdpa_flops_a_token": lambda: TOKEN.attention,
    "kv_cache": lambda: SLIDES.kv_cache.bytes,
    "embedding_and_head_params": lambda: PARAMS.embedding + PARAMS.lm_head,
    "linear_params": lambda: PARAMS.mlp + PARAMS.attention,
    "params": lambda: PARAMS.total,
    "linear_flops_a_token": lambda: TOKEN.linear,
    "flops_a_token": lambda: TOKEN.total,
    "flops_a_token_without_head": lambda: TOKEN.linear + TOKEN.attention,
    "flops_a_linear_parameter": lambda: TOKEN.linear / (PARAMS.mlp + PARAMS.attention),
    "flops_a_token_by_the_simple_rule": lambda: textbook.FORWARD_FLOPS_PER_PARAM * PARAMS.total,
    "bytes_a_parameter": lambda: SLIDES.memory.weights_bytes / PARAMS.total,
    "weights": lambda: SLIDES.memory.weights_bytes,
    "weights_and_cache": lambda: SLIDES.memory.weights_bytes + SLIDES.memory.kv_cache_bytes,
    "rtx4090_memory": lambda: GPU.memory.value,
    "rtx4090_bandwidth": lambda: GPU.bandwidth.value,
    "rtx4090_peak_bf16": lambda: GPU.peak["bf16"].value,
    "rtx4090_peak_fp16": lambda: GPU.peak["fp16"].value,
    "gemm_mfu": lambda: textbook.GEMM_MFU,
    "gemm_rate": lambda: textbook.GEMM_MFU * PEAK,
    "training_mfu": lambda: SLIDES.workload.mfu,
    "prefill_rate": lambda: SLIDES.prefill.textbook.tokens_per_s,
    "prefill_of_8k": lambda: SLIDES.prefill.textbook.seconds,
    "training_rate": lambda: SLIDES.training.textbook.tokens_per_s,
    "training_on_15T": lambda: SLIDES.training.textbook.gpu_years,
    "linear_bytes": lambda: of_part("mlp", "weight_bytes") + of_part("attention", "weight_bytes"),
    "head_bytes": lambda: of_part("lm_head", "weight_bytes"),
    "bytes_a_token": lambda: count_pass(STEP).linear_bytes + SLIDES.traffic.decode.kv_cache_bytes,
    "decode_rate": lambda: SLIDES.decode.textbook.tokens_per_s,
    "tokens_an_iteration": tokens_an_iteration,
    "tokens_an_iteration_roughly": tokens_an_iteration,
    "tokens_of_600000_iterations": lambda: 600000 * tokens_an_iteration(),
    "gpt3_training_seconds": gpt3_seconds,
    "gpt3_training_days": lambda: gpt3_seconds() / 86400,
    "bytes_of_weights_and_gradients_and_adam_a_parameter": lambda: textbook.training_bytes(1),
    "training_7B": lambda: textbook.training_bytes(7 * 10**9),
    "inference_7B": lambda: textbook.inference_bytes(2 * 7 * 10**9),
    "inference_overhead": lambda: textbook.INFERENCE_OVERHEAD - 1,
}

# What the document divided, added or carried on, in the printed unit. Figures of the engine are rounded as the page
# rounds them before it goes on; a figure that stands on the page already is taken from there.
AS_PRINTED = {
    "sdpa_flops_a_token": lambda: 2 * round(TOKEN.attention / 2 / 1e9, 2),  # 2.15 doubled
    "linear_flops_a_token": lambda: (
        mlp_as_printed() + round(projection_flops() / 1e9, 2) + 1.0
    ),  # 11.3 + 2.68 and a slip of 1
    "flops_a_token": lambda: (
        on_page("linear_flops_a_token") + on_page("sdpa_flops_a_token")
    ),  # 14.98 + 4.30, no LM head
    "flops_a_token_without_head": lambda: on_page("linear_flops_a_token") + on_page("sdpa_flops_a_token"),
    "flops_a_token_by_the_simple_rule": lambda: textbook.FORWARD_FLOPS_PER_PARAM,
    "prefill_rate": lambda: (
        1 / textbook.prefill_seconds(on_page("flops_a_token") * 1e9, PEAK, textbook.END_TO_END_MFU)
    ),  # 82.5 T / 19.28 G
    "prefill_of_8k": lambda: SLIDES.workload.prompt / on_page("prefill_rate"),  # 8192 / 4280
    "training_rate": lambda: textbook.training_tokens_per_s(on_page("prefill_rate")),  # 4280 / 3
    "training_on_15T": lambda: textbook.gpu_years(
        SLIDES.workload.tokens, on_page("training_rate")
    ),  # 15T / 1427 / 365 days
    "kv_cache": lambda: SLIDES.kv_cache.bytes / GIB,
    "linear_bytes": lambda: EXACT["linear_bytes"]() / GIB,
    "head_bytes": lambda: EXACT["head_bytes"]() / GIB,
    "bytes_a_token": lambda: (
        on_page("linear_bytes") + on_page("kv_cache") + on_page("head_bytes")
    ),  # 13 + 1 + 0.98, in GiB
    "decode_rate": lambda: BANDWIDTH / 1e9 / on_page("bytes_a_token"),  # 1008 / 15
}


def on_page(key):
    """A printed figure that the document computes on with, as printed."""
    return float(FIGURES[key]["prints"])


def rounds_to(value, digits, to=None):
    """Whether the value is `digits` when rounded as they are, or to multiples of `to`; a millionth is float noise."""
    step = Fraction(to) if to else Fraction(1, 10 ** len(digits.partition(".")[2]))
    return abs(Fraction(value) - Fraction(digits)) <= step / 2 + step / 10**6


def in_printed_unit(value, entry):
    return Fraction(value) / SCALES.get(entry["unit"], 1)


@pytest.mark.parametrize("key", FIGURES)
def test_the_exact_figure_comes_out_of_the_engine(key):
    exact, value = FIGURES[key]["exact"], EXACT[key]()
    if isinstance(exact, int):
        assert value == exact
    else:
        assert rounds_to(value, str(exact))


@pytest.mark.parametrize("key", FIGURES)
def test_the_printed_figure_comes_out_by_the_documents_convention(key):
    entry = FIGURES[key]
    value = AS_PRINTED[key]() if key in AS_PRINTED else in_printed_unit(EXACT[key](), entry)
    assert rounds_to(value, entry["prints"], entry.get("to"))


@pytest.mark.parametrize("key", PLAIN)
def test_what_is_no_erratum_is_the_exact_figure_rounded(key):
    entry = FIGURES[key]
    assert rounds_to(in_printed_unit(EXACT[key](), entry), entry["prints"], entry.get("to"))


@pytest.mark.parametrize("key", ERRATA)
def test_an_erratum_is_not_the_exact_figure_rounded(key):
    entry = FIGURES[key]
    assert not rounds_to(in_printed_unit(EXACT[key](), entry), entry["prints"], entry.get("to"))


@pytest.mark.parametrize("key", [key for key, entry in FIGURES.items() if "explains" in entry])
def test_explain_says_what_the_slides_print_and_why(key):
    entry = FIGURES[key]
    (explanation,) = explain(MODEL, GPU, quantity=entry["explains"])
    said = [each for each in explanation.published if each.printed.split()[0] == entry["prints"]]
    assert len(said) == 1
    assert said[0].document == "The slides print"
    assert rounds_in(said[0].why, in_printed_unit(EXACT[key](), entry)), "the reason gives the figure that is right"


def rounds_in(text, value):
    """Whether some number in the text is the value, rounded to its last digit and to no fewer than two digits."""
    numbers = [word.strip(".,;:").replace(",", "") for word in text.replace("=", " ").split()]
    return any(
        rounds_to(value, number)
        for number in numbers
        if len(number) > 1 and number.isascii() and number.replace(".", "", 1).isdigit()
    )


@pytest.mark.parametrize("key", [key for key in ERRATA if key.endswith("_rate") or key == "training_on_15T"])
def test_what_the_slides_print_for_their_gpu_is_not_said_of_another(key):
    (explanation,) = explain(MODEL, load_hardware("h100-sxm"), quantity=FIGURES[key]["explains"])
    assert explanation.published == []


def test_the_command_prints_the_erratum_in_one_line():
    command = [sys.executable, "-m", "llmcost", "explain", "llama3-8b", "flops.per_token.linear"]
    lines = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout.splitlines()
    (said,) = [line.strip() for line in lines if "slides print" in line]
    assert said.startswith("The slides print 14.98 GFLOPs: ")
    assert said.endswith("13.96.")


# -- the table of models --------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", MODEL_TABLE, ids=lambda entry: entry["id"])
def test_the_spec_has_the_sizes_of_the_row(entry):
    spec, row = load_model(entry["model"]), entry["row"]
    assert (spec.num_hidden_layers, spec.hidden_size, size(spec, "num_attention_heads")) == (
        row["layers"],
        row["hidden"],
        row["heads"],
    )
    assert (size(spec, "intermediate_size"), spec.max_position_embeddings, spec.vocab_size) == (
        row["ffn"],
        row["max_seq"],
        row["vocab"],
    )
    assert size(spec, "head_dim") == 128  # hidden / heads in every row


@pytest.mark.parametrize("entry", MODEL_TABLE, ids=lambda entry: entry["id"])
def test_the_row_has_as_many_parameters_as_its_label_says_unless_it_is_an_erratum(entry):
    total = estimate(load_model(entry["model"])).model.params.total
    assert total == entry["exact"]
    assert rounds_to(Fraction(total, 10**9), entry["label"], entry.get("to")) == (entry["verdict"] == "rounds")


@pytest.mark.parametrize(
    "entry", [entry for entry in MODEL_TABLE if entry["verdict"] == "erratum"], ids=lambda entry: entry["id"]
)
def test_explain_says_what_a_mislabelled_row_gives_and_what_was_released(entry):
    (explanation,) = explain(load_model(entry["model"]), quantity=entry["explains"])
    (said,) = explanation.published
    assert (said.document, said.printed) == ("The slides print", f"{entry['label']}B")
    released = estimate(load_model(entry["released"])).model.params.total
    assert f"{released:,}" in said.why
    assert entry["released"] in said.why
    assert rounds_in(said.why, Fraction(entry["exact"], 10**9))


# -- the table of symbols -------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", SYMBOL_TABLE, ids=lambda entry: entry["id"])
def test_the_spec_has_the_sizes_of_the_symbol_table(entry):
    spec, symbols = load_model(entry["model"]), entry["symbols"]
    workload = estimate(spec, None, Options(batch=symbols.get("b", 1))).workload
    ours = {
        "s": spec.max_position_embeddings,
        "v": spec.vocab_size,
        "L": spec.num_hidden_layers,
        "h": spec.hidden_size,
        "a": size(spec, "num_attention_heads"),
        "head": size(spec, "head_dim"),
        "i": size(spec, "intermediate_size"),
        "t": workload.tp,
        "b": workload.batch,
    }
    assert symbols == {letter: ours[letter] for letter in symbols}
    assert size(spec, "intermediate_size") == 4 * spec.hidden_size or is_gated(
        spec
    )  # i is 4·h in nanoGPT, as the table writes


# -- nothing is left out --------------------------------------------------------------------------------


def test_every_figure_of_golden_yaml_is_checked_and_every_check_has_a_figure():
    assert set(EXACT) == set(FIGURES)
    assert set(AS_PRINTED) <= set(FIGURES)
    assert len(FIGURES) == sum(len(GOLDEN[document]["figures"]) for document in ("slides", "walk")), (
        "two figures share an id"
    )


def test_every_section_of_golden_yaml_is_one_that_a_test_reads():
    sections = {document: set(content) - {"title"} for document, content in GOLDEN.items()}
    # test_closed_forms.py reads the GEMM table and the closed forms
    assert sections == {
        "slides": {"model_table", "figures"},
        "walk": {"symbol_table", "gemm_table", "closed_forms", "figures"},
    }
    assert len(MODEL_TABLE) == 11


@pytest.mark.parametrize("entry", [*FIGURES.values(), *MODEL_TABLE], ids=lambda entry: entry["id"])
def test_an_entry_has_the_fields_that_its_verdict_calls_for_and_no_others(entry):
    assert entry["verdict"] in ("rounds", "erratum")
    if entry["verdict"] == "erratum":
        assert {"why", "explains"} <= set(entry)
    assert set(entry) <= {
        "id",
        "model",
        "row",
        "label",
        "prints",
        "unit",
        "to",
        "exact",
        "verdict",
        "why",
        "explains",
        "released",
    }


def test_every_published_line_of_a_spec_stands_for_an_entry_of_golden_yaml():
    known = {(MODEL.name, entry["explains"], entry["prints"]) for entry in FIGURES.values() if "explains" in entry}
    known |= {(entry["model"], entry["explains"], entry["label"]) for entry in MODEL_TABLE if "explains" in entry}
    names = {MODEL.name, *(entry["model"] for entry in MODEL_TABLE), *(entry["model"] for entry in SYMBOL_TABLE)}
    said = {
        (name, line.quantity, line.printed.split()[0].rstrip("B"))
        for name in names
        for line in load_model(name).published
    }
    assert said == known
