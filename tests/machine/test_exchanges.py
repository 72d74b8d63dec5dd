"""Exchanges by libraries of their own, against the public measurements that their numbers rest on."""

from statistics import fmean

import pytest

from llmcost import Options, estimate, load_hardware, load_model
from llmcost.ground.errors import InputError
from llmcost.machine.chip import Links
from llmcost.machine.efficiency import DEFAULT
from llmcost.machine.exchanges import experts_seconds, reduced_seconds
from llmcost.model.operators import Collective, ExpertTraffic
from llmcost.model.operators.routing import routing_of
from llmcost.serving.options import ALL2ALL
from llmcost.specs.catalog import load_engine, load_library, names

H800 = Links(200e9, 50e9)  # GB/s of NVLink, and of ConnectX-7
SCALES = 4 / 128  # bytes of an fp8 element's scale
# github.com/deepseek-ai/DeepEP, docs/legacy.md: low-latency kernels, GPUs -> microseconds of dispatch and combine.
LOW_LATENCY = {8: (77, 114), 16: (118, 195), 32: (155, 273), 64: (173, 314), 128: (192, 369), 256: (194, 360)}
# vllm-project/vllm, pull request 42324: eight H100s, MiB -> microseconds of multimem's all-reduce.
MULTIMEM = {0.5: 11, 1: 14, 1.5: 16, 2: 18, 3: 23, 4: 27, 8: 46, 16: 87, 32: 165, 64: 320, 128: 631}
NCCL = {16: 121, 32: 195, 64: 316, 128: 561}  # the same, by NCCL
MEASURED = [(gpus, Bx, us) for gpus, both in LOW_LATENCY.items() for Bx, us in zip((1 + SCALES, 2), both, strict=True)]


def traffic(gpus, Bx, rows=128):
    """Tokens of DeepSeek-V3 on their way to 256 experts over so many GPUs in nodes of eight."""
    drawn = routing_of("uniform")
    return ExpertTraffic("send", "mlp", 1, rows, 7168, 256, 8, gpus, 1, 1, 8, Bx, Bx, everywhere=False, routing=drawn)


def deepep_seconds(*of, **more):
    kernels = (DEFAULT.kernels[level] for level in ("node", "fabric"))
    return experts_seconds(load_library("deepep").on(load_hardware("h800")), traffic(*of, **more), H800, *kernels)


def h100_seconds(*of, **more):
    kernels = (DEFAULT.kernels[level] for level in ("node", "fabric"))
    links = Links(450e9, 50e9)
    return experts_seconds(load_library("deepep").on(load_hardware("h100")), traffic(*of, **more), links, *kernels)


def test_deepeps_low_latency_kernels_take_what_was_measured():
    errors = [abs(deepep_seconds(gpus, Bx) / us * 1e6 - 1) for gpus, Bx, us in MEASURED]
    assert fmean(errors) < 0.03
    assert max(errors) < 0.11


def test_inside_a_node_of_h100s_nobody_waits_for_a_network():
    """Eight copies of 7,168 bytes, 7 of 8 to other GPUs, at 0.56 of 450 GB/s; more tokens once to 5.3 GPUs each."""
    each = 256 * 8.2e-9  # experts
    assert h100_seconds(8, 1, rows=1) == pytest.approx(9.6e-6 + each + 7168 * 7 / (0.56 * 450e9))
    sending = traffic(8, 1, rows=4096).wire_bytes()[0] / (0.76 * 450e9)
    ramped = (2.57e-5**0.7 + sending**0.7) ** (1 / 0.7)
    assert h100_seconds(8, 1, rows=4096) == pytest.approx(ramped + 4096 * 1.06e-8)
    assert h100_seconds(16, 1, rows=1) > 3.8e-5  # over the network, as on H800s


def test_more_tokens_than_buffers_have_room_for_go_once_to_each_gpu_that_has_an_expert():
    """Version 1 moves 153 GB/s over NVLink on eight H800s, one of eight parts of it on the GPU itself."""
    many = traffic(8, 1, rows=4096)
    sent = many.wire_bytes()[0]
    assert deepep_seconds(8, 1, rows=4096) == pytest.approx(sent / (7 / 8 * 153e9), rel=0.05)
    assert deepep_seconds(8, 1, rows=129) < deepep_seconds(8, 1)  # fewer copies, and no wait for low latency


@pytest.mark.parametrize(("library", "measured", "largest"), [("multimem", MULTIMEM, 0.05), ("nvls", NCCL, 0.08)])
def test_sums_in_switches_take_what_was_measured(library, measured, largest):
    for size, us in measured.items():
        op = Collective("sum", "mlp", 1, "all_reduce", size * 2**20, 1, 8, 1, 8, 1)
        found = reduced_seconds(load_library(library), op, Links(450e9, 50e9), otherwise=1.0)
        assert found == pytest.approx(us * 1e-6, rel=largest)


def test_few_gpus_small_arrays_and_other_nodes_are_left_to_rings():
    nvls = load_library("nvls")
    for ranks, size, node in ((4, 2**30, 8), (8, 2**20, 8), (16, 2**30, 8)):
        op = Collective("sum", "mlp", 1, "all_reduce", size, 1, ranks, 1, node, 1)
        assert reduced_seconds(nvls, op, Links(450e9, 50e9), otherwise=1.0) == 1.0


def test_the_option_takes_the_libraries_that_ship_for_experts():
    shipped = [name for name in names("hardware/collectives") if load_library(name).exchange == "experts"]
    assert list(ALL2ALL) == [*shipped, "gather"]


def test_gathered_tokens_go_to_all_gpus():
    """128 tokens of 7,168 bytes to 7 others, where DeepSeek-V3's 8 experts of 256 are on 5.3 of 8 GPUs."""
    model, gpu = load_model("deepseek-v3"), load_hardware("h200")
    of = Options(dp=8, ep=8, batch=8 * 128, context=4096, dtype="fp8")
    once, gathered = (estimate(model, gpu, of._replace(all2all=how)).decode for how in (None, "gather"))
    assert gathered.expected.seconds_per_step > once.expected.seconds_per_step
    assert gathered.limit == once.limit
    assert traffic(8, 1)._replace(everywhere=True).wire_bytes()[0] == 128 * 7168 * 7
    assert traffic(8, 1).wire_bytes()[0] == pytest.approx(128 * 7168 * 7 * 0.665, rel=0.01)  # 5.3 of 8


def test_deepep_adds_to_a_step_what_it_takes_more_than_the_fewest_bytes_need():
    model, gpu = load_model("deepseek-v3"), load_hardware("h800")
    of = Options(dp=32, ep=32, batch=32 * 128, context=4096, dtype="fp8")
    plain, deepep = (estimate(model, gpu, of._replace(all2all=library)).decode for library in (None, "deepep"))
    assert (
        deepep.expected.seconds_per_step - plain.expected.seconds_per_step > 58 * 100e-6
    )  # layers with experts, 155 and 273 µs in each
    assert deepep.limit == plain.limit


@pytest.mark.parametrize(
    ("model", "gpu", "options", "said"),
    [
        ("llama3.1-8b", "h100", {}, "of tokens that go to experts on other GPUs"),
        (
            "mixtral-8x7b",
            "l40s",
            {"dp": 8, "ep": 8},
            "deepep runs over NVLink, and GPUs of NVIDIA L40S have PCIe 4.0",
        ),
    ],
)
def test_deepep_is_refused_where_it_cannot_run(model, gpu, options, said):
    with pytest.raises(InputError, match=said):
        estimate(load_model(model), load_hardware(gpu), Options(all2all="deepep", **options))


def test_vllm_0_6_turns_sums_in_switches_off_and_0_10_does_not():
    assert "nvls" not in load_engine("vllm-0.6").collectives["all_reduce"]
    model, gpu = load_model("llama3.1-70b"), load_hardware("h100")
    of = Options(engine="vllm-0.10", tp=8, prompt=8192, context=8192)
    with_switches = estimate(model, gpu, of).prefill.expected.seconds
    assert with_switches < estimate(model, gpu, of._replace(engine=None, chunk=8192)).prefill.expected.seconds
