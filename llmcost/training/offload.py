"""The host's memory beside training: the optimizer's states, which the host's CPU then updates, and weights.

As in ZeRO-Offload (arXiv 2101.06840): gradients go down to the host, its CPU runs Adam over states that it keeps, and
weights of 16 bits come back up. With ZeRO-3 weights may stand there too (ZeRO-Infinity, arXiv 2104.07857). The CPU's
update moves as many bytes as a GPU's and does little else, so it takes as long as its memory lets it. The GPUs of a
node share one host; NVMe is left out, and so is the overlap of an update with the next step.
"""

from __future__ import annotations

from llmcost.ground.errors import InputError
from llmcost.machine.chip import usable_bytes
from llmcost.machine.host import copies_to_host, host_named
from llmcost.machine.reached import efficiency_for
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.options import Options
from llmcost.training.recipe import OnHost


def offloaded(hardware: HardwareSpec, options: Options, gpus: int) -> OnHost | None:
    """The host of each GPU, as the options ask for it; None: none.

    Raises InputError where the options contradict each other, or a figure of host or link is not known.
    """
    what, name = options.offload, options.host
    if what is None:
        given = [option for option in ("host", "host_link") if getattr(options, option) is not None]
        if given:
            raise InputError(f"--{given[0].replace('_', '-')}: what stands there? --offload optimizer, or weights")
        return None
    host = host_named(f"--offload {what}", name)
    if host.bandwidth is None:
        raise InputError(f"--host {name}: no source gives its memory bandwidth")
    if what == "weights" and options.zero != 3:
        raise InputError("--offload weights: those that --zero 3 divides; give --zero 3 too, or --offload optimizer")
    sharing = min(gpus, options.gpus_per_node or hardware.gpus_in_a_node())
    reached = efficiency_for(host, None, "bf16", "bf16").kernels["elementwise"].memory
    return OnHost(
        host.title,
        host.bandwidth.value * reached / sharing,
        copies_to_host("--offload", hardware, options.host_link, "--host-link"),
        usable_bytes(host) / sharing,
        weights=what == "weights",
    )
