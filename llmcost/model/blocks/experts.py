"""Mixtures of experts (arXiv 1701.06538; shared experts: DeepSeekMoE, arXiv 2401.06066)."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.builder import Site
from llmcost.model.blocks.mlp import gated, plain
from llmcost.model.operators import Operator


class Experts(NamedTuple):
    """`num_experts` MLPs, gated or not, of which a router gives each token `num_experts_per_tok`.

    Beside them stand experts that every token takes, of `shared_expert_intermediate_size` together (0: none).
    Stored are all, computed those that tokens take, read those that the tokens of a pass touch. The router may
    also choose among `zero_expert_num` experts that return their input (LongCat-Flash, arXiv 2509.01322): they store
    and compute nothing, and with uniform routing take their share of a token's choices. With a
    `moe_latent_size` the experts work in that size, with projections into it and out of it (LatentMoE, Nemotron 3).

    `router_scales`: a weight a channel of the router's input and one an expert. `branch_norms`: a norm
    on the experts' input and one on each branch's output. `output_norm`: one on their sum.
    `input_gate_rank`: the block's input is scaled by a low-rank map of itself.
    """

    num_experts: Number
    num_experts_per_tok: Number
    moe_intermediate_size: Number
    shared_expert_intermediate_size: Number = 0
    zero_expert_num: Number = 0
    input_gate_rank: Number = 0
    expert_bias: bool = False
    router_bias: bool = False
    router_scales: bool = False
    shared_expert_gate: bool = False
    shared_bias: bool = False
    expert_gated: bool = True
    moe_latent_size: Number = 0
    branch_norms: bool = False
    output_norm: bool = False

    def operators(self, site: Site) -> Iterator[Operator]:
        """Router, the experts that each token takes, their weighted sum, the shared experts."""
        h = site.hidden
        if present(self.input_gate_rank):
            yield from site.input_gate("experts_input_gate", self.input_gate_rank)
        if self.router_scales:
            yield site.stream("router_scales", "mlp", h, h, h + self.num_experts)
        yield site.gemm("router", "mlp", h, self.num_experts + self.zero_expert_num, bias=self.router_bias, plain=True)
        if self.branch_norms:
            yield site.stream("experts_norm", "norm", h, h, h)
        if present(self.moe_latent_size):
            yield site.gemm("latent_in_proj", "mlp", h, self.moe_latent_size, bias=self.shared_bias)
            yield from self.routed(site, self.moe_latent_size)
            yield site.gemm("latent_out_proj", "mlp", self.moe_latent_size, h, bias=self.shared_bias)
        else:
            yield from self.routed(site, h)
        if present(self.shared_expert_intermediate_size):
            mlp = gated if self.expert_gated else plain
            yield from mlp(site, "shared_", self.shared_expert_intermediate_size, bias=self.shared_bias)
        if self.shared_expert_gate:
            yield site.gemm("shared_expert_gate", "mlp", h, 1, plain=True)
        if self.branch_norms:
            yield site.stream("branch_norms", "norm", 2 * h, h, 2 * h)
        if self.output_norm:
            yield site.stream("experts_output_norm", "norm", h, h, h)

    def routed(self, site: Site, h: Number) -> Iterator[Operator]:
        """The experts that each token takes, from h to h, and their weighted sum."""
        E, k, f = self.num_experts, self.num_experts_per_tok, self.moe_intermediate_size
        if present(self.zero_expert_num):
            k = k * E / (E + self.zero_expert_num)
        up, name = (2 * f, "experts_gate_up_proj") if self.expert_gated else (f, "experts_up_proj")
        yield site.grouped(name, "mlp", h, up, E, k, bias=self.expert_bias, experts=True)
        yield site.stream("experts_activation", "mlp", k * up, k * f)
        yield site.grouped("experts_down_proj", "mlp", f, h, E, k, bias=self.expert_bias, experts=True)
        yield site.stream("experts_sum", "mlp", k * h, h)
