"""What sends tokens to experts on other GPUs in training, and in which data type: DeepEP, Hybrid-EP, NCCL."""

import pytest

from llmcost.ground.errors import InputError
from llmcost.model.operators import ExpertTraffic
from llmcost.search.plan_training import plan
from llmcost.search.question import ask
from llmcost.specs.catalog import load_hardware, load_library, load_model
from llmcost.training.options import Options
from llmcost.training.passes import forward_pass
from llmcost.training.setup import setup_of
from llmcost.training.step import evaluate_step
from llmcost.training.train import train

H800, L40S = load_hardware("h800"), load_hardware("l40s")
V3 = load_model("deepseek-v3")
OWN = Options(gpus=2048, pp=16, ep=64, dp=128, dtype="fp8", schedule="dualpipe", zero=1, tp=1, recompute="selective")


def setup(**more):
    return setup_of(V3, H800, OWN._replace(**more), None)[0]


def exposed(**more):
    """Seconds of a step in which GPUs wait for tokens on their way to experts and back."""
    return evaluate_step(setup(**more)).seconds.exposed.expert


def sent(name, **more):
    """Bytes of an element of tokens on their way in one direction."""
    ops = [op for op in forward_pass(setup(**more)).layers if isinstance(op, ExpertTraffic)]
    return {op.Bx for op in ops if op.name == name}


def test_deepseek_v3_fits_and_takes_its_hours_by_deepep():
    run = train(V3, H800, OWN._replace(tokens=14_800 * 10**9, all2all="deepep"))
    assert run.memory.fits
    assert run.gpu_hours == pytest.approx(2.664e6, rel=0.15)
    assert (run.run.all2all, run.run.dispatch_dtype) == ("deepep", None)


def test_a_copy_for_each_expert_takes_longer_than_one_for_each_node():
    """Eight experts of four nodes (n_group, topk_group): twice as many copies between nodes, and more inside."""
    assert exposed(all2all="alltoall") > 2 * exposed(all2all="deepep")


def test_what_overlaps_costs_the_multiprocessors_that_a_library_takes():
    """All of it beside computation: 20 of 132 for DeepEP; the exchange itself is what is exposed without overlap."""
    for library, share in (("deepep", 20 / 132), ("hybridep", 16 / 132)):
        alone = exposed(all2all=library, overlap="expert=0")
        hidden = exposed(all2all=library, overlap="expert=1")
        assert load_library(library).multiprocessors == pytest.approx(132 * share)
        assert hidden == pytest.approx(share * alone)


def test_tokens_go_in_the_type_that_is_asked_for_and_come_back_in_16_bits():
    assert sent("experts_dispatch") == {1}  # megatron-core's own of fp8
    assert sent("experts_dispatch", dispatch_dtype="bf16") == {2}
    assert sent("experts_dispatch", dispatch_dtype="fp8", dtype="bf16") == {1 + 4 / 128}  # DeepEP's scales
    assert sent("experts_combine", dispatch_dtype="fp8") == {2}


def test_a_plan_spreads_experts_by_the_library_that_is_asked_for():
    def best(library):
        asked = Options(gpus=64, global_batch=512, all2all=library)
        held = {"tp": (1,), "pp": (1,), "ep": (8,), "micro_batch": (1,)}
        return plan(ask(load_model("qwen3-30b-a3b"), H800, asked, held), 1).best[0].step_seconds

    assert best("alltoall") > best("hybridep") > 0


@pytest.mark.parametrize(
    ("model", "gpu", "options", "says"),
    [
        ("llama3-8b", H800, {"all2all": "deepep"}, "--all2all deepep: of experts, and llama3-8b has none"),
        ("llama3-8b", H800, {"dispatch_dtype": "fp8"}, "--dispatch-dtype fp8: of experts"),
        ("mixtral-8x7b", H800, {"all2all": "deepep", "ep": 1}, "and --ep is 1; nearest: --ep 2"),
        ("mixtral-8x7b", H800, {"all2all": "deepep", "engine": "deepspeed"}, "DeepSpeed 0.18.9 has alltoall"),
        ("mixtral-8x7b", L40S, {"all2all": "deepep", "ep": 8}, "deepep runs over NVLink, and GPUs of NVIDIA L40S"),
        ("mixtral-8x7b", H800, {"all2all": "pplx"}, "one of alltoall, deepep, hybridep"),
    ],
)
def test_what_nothing_is_sent_by_is_refused(model, gpu, options, says):
    with pytest.raises(InputError, match=says):
        train(load_model(model), gpu, Options(gpus=8, **options))
