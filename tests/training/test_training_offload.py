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


DIVIDED = {"gpus": 8, "zero": 3, "recompute": "full", "global_batch": 64, "offload": "optimizer"}
DIVIDED |= {"host": "epyc-9654", "host_link": "pcie5"}


def test_states_on_drives_are_read_and_written_with_their_gradients():
    plain = answer(**DIVIDED)
    drives = answer(**DIVIDED, offload_to="nvme", nvme_gb_per_s=(50, 25), nvme_tb=30)
    # fp32 master, two moments and gradient of an eighth of the parameters, over an eighth of what the drives do
    moved = 16 * plain.model.params.total / 8
    more = drives.breakdown.optimizer - plain.breakdown.optimizer
    assert more == pytest.approx(moved / (50e9 / 8) + moved / (25e9 / 8))
    gradients = 4 * plain.model.params.total / 8  # as fp32
    assert drives.memory.host_bytes == pytest.approx(plain.memory.host_bytes + gradients)
    assert drives.memory.host_usable_bytes == 30e12 / 8
    assert drives.memory.host_place == "drives of the host"


def test_overlapped_the_slowest_part_of_an_update_counts():
    asked = {**DIVIDED, "offload_to": "nvme", "nvme_gb_per_s": (50, 25)}
    run = answer(**asked, offload_overlap=True)
    moved = 16 * run.model.params.total / 8
    assert run.breakdown.optimizer == pytest.approx(moved / (50e9 / 8) + moved / (25e9 / 8))
    fast = answer(**asked | {"nvme_gb_per_s": (10**5, 10**5)}, offload_overlap=True)
    assert fast.breakdown.optimizer < answer(**DIVIDED).breakdown.optimizer  # the CPU's update alone is left


def test_a_share_of_the_states_stays_on_the_gpu():
    all_of_it, half = answer(**DIVIDED), answer(**DIVIDED, offload_share=0.5)
    assert half.memory.host_bytes == pytest.approx(all_of_it.memory.host_bytes / 2)
    assert half.memory.optimizer_bytes == pytest.approx(all_of_it.memory.host_bytes / 2)
    assert all_of_it.memory.optimizer_bytes == 0
    assert half.breakdown.optimizer == pytest.approx(all_of_it.breakdown.optimizer / 2)


def test_weights_come_from_drives_as_fast_as_these_read():
    asked = {**DIVIDED, "offload": "weights", "offload_to": "nvme"}
    slow, fast = (answer(**asked, nvme_gb_per_s=(rate, 100)) for rate in (10, 20))
    assert slow.breakdown.exposed.data > 1.5 * fast.breakdown.exposed.data
    assert not answer(**asked, nvme_gb_per_s=(10, 10), nvme_tb=0.1).memory.fits  # 18.1 GB of 12.5 a GPU


def test_a_system_s_spec_says_what_its_drives_do(tmp_path):
    spec = tmp_path / "box.yaml"
    spec.write_text(
        "name: box\ntitle: A box\ngpu: h100-sxm\nnode_gpus: {value: 8, source: sheet}\n"
        "fabric: {kind: Ethernet, value: 50 GB/s, source: sheet}\n"
        "drive_read: {value: 50 GB/s, source: sheet}\ndrive_write: {value: 25 GB/s, source: sheet}\n"
        "drive_memory: {value: 30 TB, source: sheet}\nsources: {sheet: {title: A sheet}}\n"
    )
    told = answer(hardware=load_hardware(str(spec)), **DIVIDED, offload_to="nvme")
    typed = answer(**DIVIDED, offload_to="nvme", nvme_gb_per_s=(50, 25), nvme_tb=30)
    assert told.breakdown.optimizer == typed.breakdown.optimizer
    assert told.memory.host_usable_bytes == typed.memory.host_usable_bytes


@pytest.mark.parametrize(
    ("hardware", "options", "message"),
    [
        (H100, DIVIDED | {"offload_to": "nvme"}, "--nvme-gb-per-s 25/14 does"),
        (H100, DIVIDED | {"nvme_tb": 3}, "--nvme-tb: of drives; give --offload-to nvme too"),
        (H100, {"offload_overlap": True}, "--offload-overlap: what stands there"),
        (H100, DIVIDED | {"offload_share": 0}, "--offload-share 0: a share of 1, above 0"),
        (
            H100,
            DIVIDED | {"offload_share": 0.5, "offload_to": "nvme", "nvme_gb_per_s": (5, 5)},
            "--offload-share: of the optimizer in the host's memory",
        ),
        (H100, {"offload": "optimizer"}, "--offload optimizer: on which CPU"),
        (H100, {"offload": "optimizer", "host": "h100"}, "--host h100: a GPU; a host is a CPU"),
        (H100, {"offload": "optimizer", "host": "epyc-9654"}, "not in its spec; --host-link pcie5 says it"),
        (H100, {"host": "epyc-9654"}, "--host: what stands there"),
        (RTX4090, {"host_link": "pcie4"}, "--host-link: what stands there"),
        (RTX4090, {"offload": "weights", "host": "epyc-9654", "zero": 1}, "give --zero 3 too"),
        (RTX4090, {"offload": "activations", "host": "epyc-9654"}, "give --recompute full too"),
    ],
)
def test_a_host_that_is_none_is_refused_with_what_would_do(hardware, options, message):
    with pytest.raises(InputError, match=message):
        answer(hardware=hardware, **{"gpus": 1} | options)


def test_drives_that_are_too_small_do_not_have_the_gpu_said_to_be(cli):
    """ZeRO-3 holds 18 bytes a parameter: 18.1 GB a GPU of eight, in drives of 12.5 GB a GPU; the GPU has room."""
    asked = "train llama3-8b --hw h100 --gpus 8 --zero 3 --offload weights --offload-to nvme --host xeon-8480+"
    more = "--host-link pcie5 --nvme-gb-per-s 25/14 --nvme-tb 0.1 --global-batch 64"
    lines = cli(*asked.split(), *more.split()).out.splitlines()
    assert ": fits;" in next(line for line in lines if line.startswith("Memory of a GPU"))
    assert "DOES NOT FIT" in next(line for line in lines if line.startswith("Drives of the host, a GPU"))


def test_inputs_of_layers_on_the_host_leave_the_gpu_and_are_awaited_where_the_link_is_slow():
    """24 layers' inputs of 4 x 4,096 x 896 x 2 bytes, down beside the forward pass, up beside the backward one."""
    layout = {"gpus": 1, "seq": 4096, "micro_batch": 4, "global_batch": 4, "recompute": "full", "engine": "unsloth"}
    layout |= {"lora_rank": 16}  # with few gradients the peak is at the loss
    here = answer("qwen2.5-0.5b", **layout)
    host = {"offload": "activations", "host": "epyc-9654"}
    fast, slow = (answer("qwen2.5-0.5b", **layout, **host, host_link=link) for link in ("pcie5", "pcie3"))
    one = 4 * 4096 * 896 * 2
    assert fast.memory.host_bytes == slow.memory.host_bytes == 24 * one
    assert here.memory.activation_bytes - fast.memory.activation_bytes == 24 * one
    assert here.memory.allocated_bytes - fast.memory.allocated_bytes == 22 * one  # two are on their way
    waits = [each.step_seconds - here.step_seconds for each in (fast, slow)]
    # PCIe 3 has 16 GB/s each way at most
    assert waits[0] == 0 < waits[1] < 2 * 24 * one / (16e9 * 0.5)
