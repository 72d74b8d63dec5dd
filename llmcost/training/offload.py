"""The host beside training: the optimizer's states, which the host's CPU then updates, and weights.

As in ZeRO-Offload (arXiv 2101.06840): gradients go down to the host, its CPU runs Adam over states that it keeps, and
weights of 16 bits come back up. With ZeRO-3 weights may stand there too (ZeRO-Infinity, arXiv 2104.07857). The CPU's
update moves as many bytes as a GPU's and does little else, so it takes as long as its memory lets it. On drives
(offload_optimizer.device "nvme") the CPU reads the states and the gradient of each part, which was written there
before, and writes the states back. The GPUs of a node share one host with its drives.

One after the other they add up. With `overlap` the slowest of all counts: the link in each direction, the CPU, the
drives (Megatron-LM's --overlap-cpu-optimizer-d2h-h2d; DeepSpeed's pipeline_read and pipeline_write,
deepspeed/runtime/zero/offload_config.py). A part that stays on the GPU is updated at the same time. Left out: an update
that runs beside the next step, and what drives take of the host's memory bandwidth.

Inputs of layers whose activations are all computed again may stand on the host too (Unsloth; torchtune's
enable_activation_offloading): they go down beside the forward pass and come up beside the backward one, each of which
takes at least as long as the link does.
"""

from __future__ import annotations

from llmcost.ground.errors import InputError
from llmcost.machine.chip import usable_bytes
from llmcost.machine.host import copies_to_host, host_named
from llmcost.machine.reached import efficiency_for
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.options import Options
from llmcost.training.recipe import OnHost

BESIDE = ("host", "host_link", "offload_to", "nvme_gb_per_s", "nvme_tb", "offload_share", "offload_overlap")


def offloaded(hardware: HardwareSpec, options: Options, gpus: int) -> OnHost | None:
    """The host of each GPU, as the options ask for it; None: none.

    Raises InputError where the options contradict each other, or a figure of host or link is not known.
    """
    what, name = options.offload, options.host
    if what is None:
        own = Options()
        given = [option for option in BESIDE if getattr(options, option) != getattr(own, option)]
        if given:
            raise InputError(f"--{given[0].replace('_', '-')}: what stands there? --offload optimizer, or weights")
        return None
    on_drives = options.offload_to == "nvme"
    drives, room = _drives(hardware, options) if on_drives else (None, None)
    for option, value in (("nvme-gb-per-s", options.nvme_gb_per_s), ("nvme-tb", options.nvme_tb)):
        if value is not None and not on_drives:
            raise InputError(f"--{option}: of drives; give --offload-to nvme too")
    inputs = what == "activations"
    if inputs and options.recompute != "full":
        raise InputError("--offload activations: inputs of layers that are computed again; give --recompute full too")
    if inputs and (on_drives or options.offload_overlap or options.offload_share < 1):
        raise InputError("--offload activations: to the host's memory, beside what computes; leave the rest out")
    if options.offload_share < 1 and (on_drives or what == "weights"):
        raise InputError("--offload-share: of the optimizer in the host's memory; DeepSpeed refuses it with all else")
    host = host_named(f"--offload {what}", name)
    if host.bandwidth is None:
        raise InputError(f"--host {name}: no source gives its memory bandwidth")
    if what == "weights" and options.zero != 3:
        raise InputError("--offload weights: those that --zero 3 divides; give --zero 3 too, or --offload optimizer")
    usable = usable_bytes(host) if not on_drives else room
    sharing = min(gpus, options.gpus_per_node or hardware.gpus_in_a_node())
    reached = efficiency_for(host, None, "bf16", "bf16").kernels["elementwise"].memory
    return OnHost(
        host.title,
        host.bandwidth.value * reached / sharing,
        copies_to_host("--offload", hardware, options.host_link, "--host-link"),
        None if usable is None else usable / sharing,
        weights=what == "weights",
        drives=None if drives is None else (drives[0] / sharing, drives[1] / sharing),
        share=0 if inputs else options.offload_share,
        inputs=inputs,
        overlap=options.offload_overlap,
    )


def _drives(hardware: HardwareSpec, options: Options) -> tuple[tuple[float, float], float | None]:
    """Bytes a second that a node's drives read and write, and bytes that they hold (None: not known).

    As given, or as the system's spec says. Raises InputError where neither says the rates.
    """
    known = hardware.drive_read, hardware.drive_write
    rates = None if options.nvme_gb_per_s is None else tuple(each * 1e9 for each in options.nvme_gb_per_s)
    if rates is None:
        if known[0] is None or known[1] is None:
            where = f"the spec of {hardware.title} does not say what its drives do"
            raise InputError(f"--offload-to nvme: {where}; --nvme-gb-per-s 25/14 does, of a node, read and written")
        rates = known[0].value, known[1].value
    room = None if hardware.drive_memory is None else hardware.drive_memory.value
    return (rates[0], rates[1]), room if options.nvme_tb is None else options.nvme_tb * 1e12
