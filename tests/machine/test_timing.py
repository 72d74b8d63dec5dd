"""Seconds of a kernel."""

from drawn import laws
from hypothesis import given
from hypothesis import strategies as st

from llmcost.machine.chip import Chip, Links
from llmcost.machine.efficiency import Efficiency, Kernel
from llmcost.machine.timing import Bound, binding, collective_seconds, kernel_seconds
from llmcost.model.operators import Collective, Gemm


@laws
@given(st.floats(1e-9, 1), st.floats(1e-9, 1), st.floats(1, 6), st.floats(1, 6))
def test_a_kernel_takes_at_least_the_longer_of_its_two_times_and_at_most_their_sum(compute, memory, one, other):
    less, more = sorted((one, other))
    chip, op = Chip(1, 1, 1, 1, None), Gemm("product", "mlp", 1, 1, 1, 1, 1, False, False, 1, 1)
    times = []
    for overlap in (less, more):
        kernel = Kernel(op.flops(causal=True) / compute, op.moved_bytes() / memory, 0, 0, overlap)
        times.append(kernel_seconds([op], chip, Efficiency({"gemm": kernel}, "", None))[0])
    assert compute + memory >= times[0] * (1 - 1e-12)
    assert times[0] >= times[1] * (1 - 1e-12)  # the better they overlap, the sooner
    assert times[1] >= max(compute, memory) * (1 - 1e-12)


def test_a_collective_over_nodes_waits_for_the_slower_of_its_links_and_for_both_latencies():
    kernels = {"node": Kernel(1, 0.5, 2e-6), "fabric": Kernel(1, 0.5, 5e-6)}
    op = Collective("reduce", "mlp", 1, "all_reduce", 1, 1024, 8, 1, 4, 2)  # 2,048 bytes, two nodes of four GPUs
    sent = 2 * 2048 * 7 / 8  # by each GPU along the ring, and a quarter of it between nodes
    links = Links(1e9, 1e8)
    took = collective_seconds(op, links, Efficiency(kernels, "", None))
    assert took == 7e-6 + max(sent / 0.5e9, sent / 4 / 0.5e8)
    assert collective_seconds(op, Links(1e9, None), Efficiency(kernels, "", None)) is None
    alone = op._replace(ranks=1)
    assert collective_seconds(alone, None, Efficiency(kernels, "", None)) == 0


def test_what_binds_is_the_longest_time_or_memory_that_is_not_there():
    assert binding(Bound(1.0, 2.0), True) == "memory bandwidth"
    assert binding(Bound(2.0, 2.0, 1.0), None) == "compute"  # of equal ones the first
    assert binding(Bound(1.0, 2.0, 3.0), False) == "capacity"
    assert binding(Bound(None, 2.0), True) is None
