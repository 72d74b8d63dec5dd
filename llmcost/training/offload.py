"""The host's memory beside training: the optimizer's states, which the host's CPU then updates, and weights.

As in ZeRO-Offload (arXiv 2101.06840): gradients go down to the host, its CPU runs Adam over states that it keeps, and
weights of 16 bits come back up. With ZeRO-3 weights may stand there too (ZeRO-Infinity, arXiv 2104.07857). The CPU's
update moves as many bytes as a GPU's and does little else, so it takes as long as its memory lets it. The GPUs of a
node share one host; NVMe is left out, and so is the overlap of an update with the next step.
"""

from __future__ import annotations

from llmcost.ground.errors import InputError
from llmcost.machine.chip import usable_bytes
from llmcost.machine.defaults import DEFAULTS
from llmcost.machine.reached import efficiency_for
from llmcost.specs.catalog import load_hardware
from llmcost.specs.hardware import PCIE, HardwareSpec
from llmcost.training.options import Options
from llmcost.training.recipe import OnHost

COPIES = DEFAULTS["link.share@PCIe"].value  # of the link's rate, what copies reach


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
    if name is None:
        raise InputError(f"--offload {what}: on which CPU? --host epyc-9654 (llmcost hardware lists them)")
    host = load_hardware(name)
    if not host.is_cpu():
        raise InputError(f"--host {name}: a GPU; a host is a CPU (llmcost hardware lists them)")
    if host.bandwidth is None:
        raise InputError(f"--host {name}: no source gives its memory bandwidth")
    if what == "weights" and options.zero != 3:
        raise InputError("--offload weights: those that --zero 3 divides; give --zero 3 too, or --offload optimizer")
    sharing = min(gpus, options.gpus_per_node or hardware.gpus_in_a_node())
    reached = efficiency_for(host, None, "bf16", "bf16").kernels["elementwise"].memory
    return OnHost(
        host.title,
        host.bandwidth.value * reached / sharing,
        _link(hardware, options.host_link) / 2 * COPIES,
        usable_bytes(host) / sharing,
        weights=what == "weights",
    )


def _link(hardware: HardwareSpec, named: str | None) -> float:
    """Bytes a second between GPU and host, both ways: of the link named, or the GPU's own PCIe."""
    if named is not None:
        return PCIE[named][1]
    if hardware.interconnect is None or not hardware.interconnect_kind.startswith("PCIe"):
        told = f"what joins {hardware.title} to its host is not in its spec"
        raise InputError(f"--offload: {told}; --host-link pcie5 says it")
    return hardware.interconnect.value
