"""Tables of experts that are spread over many GPUs: what a GPU computes of them, and tokens on their way.

Source of the columns' meaning: collectors and their names, https://github.com/ai-dynamo/aiconfigurator (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from llmcost.accuracy.collector import (
    EXPONENTS,
    FORMATS,
    Arrays,
    Group,
    fullest_share,
    labelled,
    numbers,
)
from llmcost.machine.forms_products import WIDTHS
from llmcost.machine.kernels import figures_of
from llmcost.specs.hardware import HardwareSpec

NODE, TRAYS = 8, {"gb200": 4, "gb300": 4}  # GPUs that DeepEP was measured among: of a node, or of a tray
FP8_TOKEN = 1 + 4 / 128  # bytes an element of tokens that are dispatched in fp8, with a scale in fp32 for 128
KEPT_EVEN = "_eplb"  # of routing whose experts a load balancer has placed, and copied


def spread_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """A GPU's share of experts, by format and engine's path; the tokens are those of all GPUs."""
    names = ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size", "latency")
    tokens, hidden, inter, topk, experts, tp, parts, ms = numbers(table, *names)
    routing = np.array([str(name) for name in table["distribution"]])
    exponent = np.array([EXPONENTS.get(name.removesuffix(KEPT_EVEN), np.nan) for name in routing])
    even = np.array([name.endswith(KEPT_EVEN) for name in routing])
    if "num_slots" in table:  # experts with copies of those that most tokens choose
        (experts,) = numbers(table, "num_slots")

    def label_of(dtype: str, name: str, even: bool, exponent: float) -> str | None:
        form = FORMATS.get(dtype)
        if form is None or np.isnan(exponent):
            return None
        return f"{form}/{name.removesuffix(KEPT_EVEN)}{'/balanced' if even else ''}"

    for label, rows in labelled([table["moe_dtype"], table["op_name"], even, exponent], label_of):
        width = WIDTHS[label.partition("/")[0]]
        f = figures_of(hardware, width.compute)
        if f is None:
            continue
        size = {
            "tokens": tokens, "experts": experts, "topk": topk, "hidden": hidden, "inter": inter / tp, "parts": parts,
            "fullest": fullest_share(tokens, experts, topk, parts, exponent),
        }  # fmt: skip
        sizes = {key: value[rows] for key, value in size.items()} | {"f": f, "width": width, "products": 3}
        yield Group("spread", label, sizes, ms[rows] / 1e3, 0 * ms[rows], hardware.name)


def sent_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """DeepEP's dispatch and combine inside a node, of each with as many SMs as are fastest."""
    rows, width, topk, experts = numbers(table, "num_token", "hidden_size", "num_topk", "num_experts")
    low = "dispatch_avg_t_us" in table
    sizes = {"rows": rows, "width": width, "active": topk, "experts": experts}
    case = np.unique(np.stack([rows, width, topk, experts]), axis=1, return_inverse=True)[1].reshape(-1)
    for phase in ("dispatch", "combine"):
        (us,) = numbers(table, f"{phase}_avg_t_us" if low else f"{phase}_transmit_us")
        least = np.full(case.max() + 1, np.inf)
        np.minimum.at(least, case, us)
        fastest = us == least[case]
        found = {key: value[fastest] for key, value in sizes.items()}
        found |= {"each": FP8_TOKEN if phase == "dispatch" else 2, "gpus": TRAYS.get(hardware.name, NODE)}
        label = f"deepep/{'low latency' if low else 'normal'}/{phase}"
        yield Group("sent", label, found, us[fastest] / 1e6, 0 * us[fastest], hardware.name)
