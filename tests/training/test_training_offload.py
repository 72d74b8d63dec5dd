"""The optimizer's states, and weights, in the host's memory: what is freed, what it costs, what is refused."""

import pytest

from llmcost.ground.errors import InputError
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.options import Options
from llmcost.training.train import train

H100, RTX4090 = load_hardware("h100"), load_hardware("rtx4090")
HOST = load_hardware("epyc-9654")


def answer(model="llama3-8b", hardware=H100, **options):
    return train(load_model(model), hardware, Options(tokens=10**9, **options))


def test_states_leave_the_gpu_and_stand_on_the_host():
    # ZeRO-1 over 8 replicas: fp32 master and two moments, 12 bytes of an eighth of the parameters
    layout = {"gpus": 8, "tp": 1, "pp": 1, "zero": 1, "recompute": "full"}
    here = answer(**layout)
    away = answer(**layout, offload="optimizer", host="epyc-9654", host_link="pcie5")
    states = 12 * here.model.params.total / 8
    assert here.memory.optimizer_bytes == pytest.approx(states)
    assert (away.memory.optimizer_bytes, away.memory.host_bytes) == (0, pytest.approx(states))
    assert here.memory.allocated_bytes - away.memory.allocated_bytes == pytest.approx(states)
    assert away.memory.host_usable_bytes == HOST.memory.value / 8  # the GPUs of a node share it


def test_an_update_takes_its_bytes_over_link_and_memory_and_nothing_else_changes():
    layout = {"gpus": 8, "tp": 1, "pp": 1, "zero": 1, "recompute": "full"}
    here = answer(**layout)
    slow, fast = (
        answer(**layout, offload="optimizer", host="epyc-9654", host_link=link) for link in ("pcie4", "pcie5")
    )
    updated = here.model.params.total / 8
    # 4 bytes of gradient down and 2 of weight up: over PCIe 4, of 32 GB/s one way, as much longer as PCIe 5 takes
    once = slow.breakdown.optimizer - fast.breakdown.optimizer
    assert 6 * updated / 64e9 < once < 3 * 6 * updated / 64e9
    # 38 bytes moved by the CPU, whose memory 8 GPUs share: no faster than at all of its bandwidth
    assert fast.breakdown.optimizer > 8 * 38 * updated / HOST.bandwidth.value
    assert fast.step_seconds - here.step_seconds == pytest.approx(fast.breakdown.optimizer - here.breakdown.optimizer)


def test_weights_on_the_host_make_room_and_cost_copies():
    layout = {"hardware": RTX4090, "gpus": 4, "zero": 3, "global_batch": 4, "recompute": "full", "seq": 2048}
    here = answer("qwen3-0.6b", **layout)
    away = answer("qwen3-0.6b", **layout, offload="weights", host="epyc-9654")
    assert away.memory.params_bytes == 0 < here.memory.params_bytes
    assert away.memory.host_bytes > here.memory.optimizer_bytes
    assert away.breakdown.exposed.data > here.breakdown.exposed.data


def test_what_the_host_has_no_room_for_does_not_fit():
    layout = {"gpus": 8, "tp": 8, "pp": 1, "zero": 1, "recompute": "full", "global_batch": 8}
    run = answer("llama3.1-405b", **layout, offload="optimizer", host="epyc-9654", host_link="pcie5")
    assert run.memory.host_bytes > run.memory.host_usable_bytes
    assert not run.memory.fits


@pytest.mark.parametrize(
    ("hardware", "options", "message"),
    [
        (H100, {"offload": "optimizer"}, "--offload optimizer: on which CPU"),
        (H100, {"offload": "optimizer", "host": "h100"}, "--host h100: a GPU; a host is a CPU"),
        (H100, {"offload": "optimizer", "host": "epyc-9654"}, "not in its spec; --host-link pcie5 says it"),
        (H100, {"host": "epyc-9654"}, "--host: what stands there"),
        (RTX4090, {"host_link": "pcie4"}, "--host-link: what stands there"),
        (RTX4090, {"offload": "weights", "host": "epyc-9654", "zero": 1}, "give --zero 3 too"),
    ],
)
def test_a_host_that_is_none_is_refused_with_what_would_do(hardware, options, message):
    with pytest.raises(InputError, match=message):
        answer(hardware=hardware, gpus=1, **options)
