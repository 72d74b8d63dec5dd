"""CPUs as devices: bandwidth and rates by their data sheets, engines that run there, and those that do not."""

import pytest

from llmcost.ground.errors import InputError
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_hardware, load_model, names

CPUS = names("hardware/cpus")
LLAMA = load_model("llama3-8b")
# Cores, GHz, fp32, bf16 and int8 operations a cycle and core, channels and MT/s: what each spec is made of.
MADE_OF = {
    "ryzen-9-9950x": (16, 5.7, (64, 128, 256), 2, 5600),
    "epyc-9654": (96, 3.55, (32, 64, 128), 12, 4800),
    "epyc-9755": (128, 4.1, (64, 128, 256), 12, 6000),
    "xeon-8480+": (56, 3.8, (64, 1024, 2048), 8, 4800),
    "xeon-6980p": (128, 3.2, (64, 1024, 2048), 12, 8800),
}


@pytest.mark.parametrize("name", CPUS)
def test_rates_and_bandwidth_are_those_of_cores_and_channels(name):
    cpu = load_hardware(name)
    cores, ghz, per_cycle, channels, transfers = MADE_OF[name]
    found = (cpu.vector_peak["fp32"], cpu.peak["bf16"], cpu.peak["int8"])
    for rate, each in zip(found, per_cycle, strict=True):
        assert rate.value == pytest.approx(cores * ghz * 1e9 * each, rel=0.005)
    assert cpu.bandwidth.value == channels * transfers * 8e6
    assert cpu.sm_count.value == cores
    assert cpu.is_cpu()


@pytest.mark.parametrize("name", CPUS)
def test_decode_is_bound_by_the_memory_of_the_machine(name):
    e = estimate(LLAMA, load_hardware(name), Options(weight_dtype="q4_k_m", engine="llama.cpp"))
    assert e.decode.limited_by == "memory bandwidth"
    step, limit = e.decode.expected.seconds_per_step, e.decode.limit.seconds_per_step
    assert limit < step < 2.6 * limit
    assert e.prefill.limit.seconds < e.prefill.expected.seconds
    assert e.decode.expected.error is None  # no published run tells how far off it is


def test_the_memory_is_what_is_plugged_in():
    e = estimate(LLAMA, load_hardware("epyc-9654"), Options())
    assert e.memory.usable_bytes == 768 * 10**9


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "transformers"])
def test_engines_whose_figures_are_of_gpus_refuse_a_cpu(engine):
    with pytest.raises(InputError, match=r"is a CPU, for which there are ideal, llama\.cpp"):
        estimate(LLAMA, load_hardware("epyc-9654"), Options(engine=engine))


def test_a_cpu_is_one_socket():
    with pytest.raises(InputError, match="one socket"):
        estimate(LLAMA, load_hardware("epyc-9654"), Options(gpus=2))


def test_a_format_of_weights_may_be_given_as_the_data_type(cli):
    said = ("estimate", "llama3-8b", "--hw", "epyc-9654", "--engine", "llama.cpp", "--json")
    assert cli(*said, "--dtype", "q4_k_m").out == cli(*said, "--weight-dtype", "q4_k_m").out
    answer = cli(*said, "--dtype", "q4_k_m", "--weight-dtype", "q8_0")
    assert answer.code == 2
    assert "both are formats of weights" in answer.err


def test_nobody_trains_on_one(cli):
    for command in ("train", "plan"):
        answer = cli(command, "llama3-8b", "--hw", "epyc-9654", "--gpus", "1")
        assert answer.code == 2
        assert "training is counted on GPUs" in answer.err


def test_the_list_has_them_apart_and_gpus_that_hold_a_model_are_no_cpus(cli):
    assert "epyc-9654" in cli("hardware").out
    assert "epyc-9654" not in cli("fit", "llama3-8b").out
    offers = cli("fit", "llama3-8b", "--hw", "epyc-9654", "--dtype", "q4_0").out
    assert "q4_0" in offers
    assert "1 × epyc-9654" in offers
    assert "2 × epyc-9654" not in offers
