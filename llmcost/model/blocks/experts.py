"""Mixtures of experts (arXiv 1701.06538; shared experts: DeepSeekMoE, arXiv 2401.06066)."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.builder import INPUT_ON_EVERY_GPU, ON_EVERY_GPU, TOKENS, Builder
from llmcost.model.blocks.mlp import GATED, PLAIN, gated, plain
from llmcost.model.operators import INPUT, OWN, UNIFORM, Buffer, Facts, Operator

CORRECTION_BYTES = 4  # of fp32, whatever the weights are in
ROUTER = Facts("tokens", INPUT, role="router")
ROUTER_OF_SCALED = Facts("tokens", OWN, role="router")
OF_INPUT = Facts("tokens", INPUT)
SUM = Facts("tokens", computes="weighted sum")
ROUTED, ROUTED_PLAIN = GATED.of("routed"), PLAIN.of("routed")
SHARED, SHARED_PLAIN = GATED.of("shared"), PLAIN.of("shared")


class Experts(NamedTuple):
    """`num_experts` MLPs, gated or not, of which a router gives each token `num_experts_per_tok`.

    Beside them stand experts that every token takes, of `shared_expert_intermediate_size` together (0: none).
    Stored are all, computed those that tokens take, read those that the tokens of a pass touch. The router may
    also choose among `zero_expert_num` experts that return their input (LongCat-Flash, arXiv 2509.01322): they store
    and compute nothing, and with uniform routing take their share of a token's choices. With a
    `moe_latent_size` the experts work in that size, with projections into it and out of it (LatentMoE, Nemotron 3), and
    with `moe_latent_norm` a norm of their sum (Kimi K3).

    With `n_group`, a token's experts come from the best `topk_group` of so many groups of them (DeepSeek-V3, arXiv
    2412.19437, section 2.1.2): that bounds the nodes that it is sent to.

    `correction_bias`: a number an expert, in fp32, is added to its score where experts are chosen (DeepSeek-V3, section
    2.1.2); the reference keeps it as a buffer, not as a parameter. `router_scales`: a weight a channel of the router's
    input and one an expert. `branch_norms`: a norm on the experts' input and one on each branch's output.
    `output_norm`: one on their sum. `output_bias`: one is added to it.
    `input_gate_rank`: the block's input is scaled by a low-rank map of itself.
    `router_hidden_size`: the router is an MLP of three layers in that size, behind a projection and a norm; with a
    `router_state` it adds what the layer before had there, scaled (ZAYA1).
    `router_sinks`: outputs of the router for the experts that every token takes, with one weight that scales them all.
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
    correction_bias: bool = False
    shared_expert_gate: bool = False
    shared_bias: bool = False
    expert_gated: bool = True
    moe_latent_size: Number = 0
    moe_latent_norm: bool = False
    branch_norms: bool = False
    output_norm: bool = False
    n_group: Number = 0
    topk_group: Number = 0
    output_bias: bool = False
    router_hidden_size: Number = 0
    router_state: bool = False
    router_sinks: Number = 0

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Router, the experts that each token takes, their weighted sum, the shared experts."""
        h = build.hidden
        if present(self.input_gate_rank):
            yield from build.input_gate("experts_input_gate", self.input_gate_rank)
        yield from self.router(build)
        if self.branch_norms:
            yield build.elementwise("experts_norm", "norm", h, h, OF_INPUT, weights=h)
        if present(self.moe_latent_size):
            yield from self.in_latent_size(build, self.moe_latent_size)
        else:
            yield from self.routed(build, h)
        if present(self.shared_expert_intermediate_size):
            size, bias = self.shared_expert_intermediate_size, self.shared_bias
            if self.expert_gated:
                yield from gated(build, "shared_", size, bias=bias, facts=SHARED)
            else:
                yield from plain(build, "shared_", size, bias=bias, facts=SHARED_PLAIN)
        if self.shared_expert_gate:
            yield build.gemm("shared_expert_gate", "mlp", h, 1, ROUTER)
        if self.branch_norms:
            yield build.elementwise("branch_norms", "norm", 2 * h, h, TOKENS, weights=2 * h)
        if self.output_norm:
            yield build.elementwise("experts_output_norm", "norm", h, h, TOKENS, weights=h)

    def router(self, build: Builder) -> Iterator[Operator]:
        """Scores of the experts, with what stands before them and what corrects them where experts are chosen."""
        facts, width = ROUTER, build.hidden
        if self.router_scales:
            yield build.elementwise("router_scales", "mlp", width, width, OF_INPUT, weights=width + self.num_experts)
            facts = ROUTER_OF_SCALED
        if present(self.router_hidden_size):
            yield from self.router_mlp(build, self.router_hidden_size)
            facts, width = ROUTER_OF_SCALED, self.router_hidden_size
        chosen = self.num_experts + self.zero_expert_num
        outputs = chosen + self.router_sinks
        yield build.gemm("router", "mlp", width, outputs, facts, bias=self.router_bias)
        if present(self.router_sinks):
            yield build.elementwise("router_scale", "mlp", outputs, outputs, TOKENS, weights=1)
        if self.correction_bias and not build.reused:
            yield Buffer("correction_bias", "mlp", build.count, chosen, CORRECTION_BYTES)

    def router_mlp(self, build: Builder, size: Number) -> Iterator[Operator]:
        """What stands before the router's last layer: projection, state of the layer before and norm, two layers."""
        yield build.gemm("router_down", "mlp", build.hidden, size, ROUTER, bias=True)
        weights = 2 * size if self.router_state else size
        yield build.elementwise("router_norm", "norm", 2 * size, size, TOKENS, weights=weights)
        for name in ("router_fc1", "router_fc2"):
            yield build.gemm(name, "mlp", size, size, ROUTER_OF_SCALED, bias=True)
            yield build.elementwise(f"{name}_activation", "mlp", size, size, TOKENS)

    def in_latent_size(self, build: Builder, size: Number) -> Iterator[Operator]:
        """Projection into the experts' size, the experts, the norm of their sum, projection out of it."""
        h, bias = build.hidden, self.shared_bias
        yield build.gemm("latent_in_proj", "mlp", h, size, INPUT_ON_EVERY_GPU, bias=bias)
        yield from self.routed(build, size)
        if self.moe_latent_norm:
            yield build.elementwise("latent_norm", "norm", size, size, TOKENS, weights=size)
        yield build.gemm("latent_out_proj", "mlp", size, h, ON_EVERY_GPU, bias=bias)

    def routed(self, build: Builder, h: Number) -> Iterator[Operator]:
        """The experts that each token takes, from h to h, and their weighted sum."""
        E, k, f = self.num_experts, self.num_experts_per_tok, self.moe_intermediate_size
        if present(self.zero_expert_num):
            k = k * E / (E + self.zero_expert_num)
        up, name = (2 * f, "experts_gate_up_proj") if self.expert_gated else (f, "experts_up_proj")
        facts = ROUTED if self.expert_gated else ROUTED_PLAIN
        routing = build.routing
        if present(self.n_group):
            routing = routing._replace(n_group=self.n_group, topk_group=self.topk_group)
        if self.correction_bias:
            routing = routing._replace(corrected=True)
        if routing is not UNIFORM:
            facts = facts.routed_by(routing)
        yield build.grouped(name, "mlp", h, up, E, k, facts.up, bias=self.expert_bias)
        yield build.elementwise("experts_activation", "mlp", k * up, k * f, facts.activation)
        yield build.grouped("experts_down_proj", "mlp", f, h, E, k, facts.down, bias=self.expert_bias)
        weights = h if self.output_bias else 0
        yield build.elementwise("experts_sum", "mlp", k * h, h, SUM, weights=weights)
