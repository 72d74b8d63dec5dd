"""The host beside a GPU: the CPU that a user names, and how fast copies between the two are."""

from __future__ import annotations

from llmcost.ground.errors import InputError, UnknownNameError
from llmcost.machine.defaults import DEFAULTS
from llmcost.specs.catalog import load_hardware
from llmcost.specs.hardware import HardwareSpec, joined_by

OVER_PCIE = DEFAULTS["link.share@PCIe"].value  # of the link's rate, what copies reach


def host_named(told: str, name: str | None) -> HardwareSpec:
    """The CPU that `--host` names; `told`: the option that needs one. Raises InputError for none, or for a GPU."""
    if name is None:
        raise InputError(f"{told}: on which CPU? --host epyc-9654 (llmcost hardware lists them)")
    try:
        host = load_hardware(name)
    except UnknownNameError as error:
        raise InputError(f"--host: {error}") from None
    if not host.is_cpu():
        raise InputError(f"--host {name}: a GPU; a host is a CPU (llmcost hardware lists them)")
    return host


def copies_to_host(told: str, hardware: HardwareSpec, link: str | None, option: str) -> float:
    """Bytes a second of copies between a GPU and its host, one way, over its own PCIe or the `link` that is named.

    Raises InputError where the GPU has another link and none is named; `told` needs it, `option` names it.
    """
    joined = joined_by(hardware, link)
    if joined.interconnect is None or not joined.interconnect_kind.startswith("PCIe"):
        raise InputError(f"{told}: what joins {hardware.title} to its host is not in its spec; {option} pcie5 says it")
    return joined.interconnect.value / 2 * OVER_PCIE
