"""What a layer keeps for its backward pass, against what torch's autograd saves for the same layer, on a CPU.

Each block has a layer in plain torch here, written from its paper or from transformers' code, in fp32. Linear layers,
matrix products and additions are torch's own. Kernels that engines fuse (norms, activations with their gates,
convolutions, recurrences) keep their inputs and compute the rest again; attention keeps its output and one number a
query and head besides (arXiv 2205.14135). Storages that autograd saves are counted once, weights left out. What ours
leaves out of it is named with each case, in elements a token, with the reason.
"""

import pytest

from llmcost.model.blocks import MIXERS, MLPS, STREAMS, NoBlock
from llmcost.model.spec import Layer, ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.training.activations import kept
from llmcost.training.passes import Setup, forward_pass
from llmcost.training.recipe import Recipe

torch = pytest.importorskip("torch")
F = torch.nn.functional
B, S, H = 2, 16, 32  # sequences, tokens, hidden size
A, G, D, I = 4, 2, 8, 48  # query heads, KV heads, head size, MLP size
Y = A * D


def ours(block):
    """Elements a token that one layer with such a block keeps: a mixer or an MLP with its norm, both, or streams."""
    name, fields, more = block if len(block) == 3 else (*block, {})
    parts = {"mixer": NoBlock(), "mlp": NoBlock()}
    streams = [kind(**fields) for kind in STREAMS if kind.__name__ == name]
    if name in MIXERS:
        parts["mixer"] = MIXERS[name](**fields)
    elif name in MLPS:
        parts["mlp"] = MLPS[name](**fields)
    parts |= more
    model = ModelSpec("m", "M", "a test", H, 100, 4096, False, (Layer(1, **parts),), tuple(streams))
    layout, recipe = Layout(micro_batch=B, global_batch=B), Recipe(dtype="fp32")
    layers = forward_pass(Setup(model, layout, recipe, S, None, None)).layers
    return sum(op.count * size for op, size in zip(layers, kept(layers, layout, recipe), strict=True)) / (4 * B * S)


class Kernel(torch.autograd.Function):
    """A kernel that keeps its inputs, and computes the rest again.

    Attention keeps a number a query and head besides, and its output, which the scores of an indexer do without.
    """

    @staticmethod
    def forward(ctx, function, query_heads, *given):
        answer = function(*given)
        ctx.function, ctx.inputs = function, len(given)
        statistic = [torch.zeros(B, S, query_heads)] if query_heads else []
        output = [answer] if query_heads and answer.shape[-1] > 1 else []
        ctx.save_for_backward(*given, *output, *statistic)
        return answer

    @staticmethod
    def backward(ctx, *slopes):
        given = [each.detach().requires_grad_() for each in ctx.saved_tensors[: ctx.inputs]]
        with torch.enable_grad():
            answer = ctx.function(*given)
        answers = answer if isinstance(answer, tuple) else (answer,)
        return None, None, *torch.autograd.grad(answers, given, slopes)


def fused(function, *given):
    return Kernel.apply(function, 0, *given)


class Net:
    """Makes weights as they are asked for, and remembers what is no activation."""

    def __init__(self):
        self.weights, self.constants = [], []

    def weight(self, *shape):
        self.weights.append(torch.randn(*shape, requires_grad=True))
        return self.weights[-1]

    def linear(self, x, n):
        return F.linear(x, self.weight(n, x.shape[-1]))

    def norm(self, x):
        return fused(lambda x, w: F.rms_norm(x, x.shape[-1:], w), x, self.weight(x.shape[-1]))

    def conv(self, x, kernel=4):
        """A causal convolution, channel by channel, with the activation behind it."""

        def run(x, w):
            return F.silu(F.conv1d(x.mT, w, padding=kernel - 1, groups=x.shape[-1])[..., :S]).mT.contiguous()

        return fused(run, x, self.weight(x.shape[-1], 1, kernel))

    def rotary(self, x):
        self.constants.append(torch.randn(x.shape[-1]))
        return x * self.constants[-1] + x.roll(1, -1) * self.constants[-1]

    def scan(self, width, *given):
        """A recurrence over all of these: what it keeps is its inputs."""
        inner = self.weight(sum(each.shape[-1] for each in given), width)
        return fused(lambda *each: torch.cat(each[:-1], -1).cumsum(1) @ each[-1], *given, inner)

    def flash(self, heads, q, *keys, out=Y):
        """Attention of so many heads: a sum over the keys stands for it."""
        inner = (
            self.constants.append(torch.randn(sum(each.shape[-1] for each in (q, *keys)), out)) or self.constants[-1]
        )
        return Kernel.apply(lambda *each: torch.cat(each, -1).cumsum(1) @ inner, heads, q, *keys)


def torchs(layer):
    """Elements a token that autograd saves of a layer: a function of a net and the layer's input (B, S, H)."""
    net, saved = Net(), {}

    def pack(tensor):
        saved.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    x = torch.randn(B, S, H, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = layer(net, x)
    for each in (*net.weights, *net.constants):
        saved.pop(each.untyped_storage().data_ptr(), None)
    elements = sum(each.untyped_storage().nbytes() for each in saved.values()) / (4 * B * S)
    out.sum().backward()
    assert all(each.grad is not None for each in net.weights), "a weight that nothing trains"
    return elements


# -- mixers -------------------------------------------------------------------------------------------------


def attention(gate=0, qk_norm=False, sub_norm=False, differential=False, tied=False, behind=None):
    def layer(net, x):
        n = net.norm(x)
        q, k = net.linear(n, Y), net.linear(n, G * D)
        v = k if tied else net.linear(n, G * D)
        if qk_norm:
            q, k = net.norm(q), net.norm(k)
        out = net.flash(A, net.rotary(q), net.rotary(k), v, out=2 * Y if differential else Y)
        if differential:
            out = fused(lambda o, w: o[..., :Y] - w * o[..., Y:], out, net.weight(1))
        if gate:
            out = fused(lambda o, g: o * g.sigmoid().repeat(1, 1, Y // gate), out, net.linear(n, gate))
        if sub_norm:
            out = net.norm(out)
        out = net.linear(out, H)
        return x + out if behind is None else behind(net, x, n, out)

    return layer


def sdpa(net, x):
    """torch's own fused attention, of as many KV heads as query heads."""
    n = net.norm(x)
    parts = net.rotary(net.linear(n, Y)), net.rotary(net.linear(n, Y)), net.linear(n, Y)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
        each = [part.view(B, S, A, D).transpose(1, 2) for part in parts]
        out = F.scaled_dot_product_attention(*each, is_causal=True)
    return x + net.linear(out.transpose(1, 2).reshape(B, S, Y), H)


def shared_keys(net, x):
    """Keys and values are another layer's, which keeps them."""
    keys = torch.randn(B, S, 2 * G * D, requires_grad=True)
    net.constants.append(keys)
    return x + net.linear(net.flash(A, net.rotary(net.linear(net.norm(x), Y)), keys), H)


def on_embedding(net, x):
    """Zamba: the stream beside the embedding, and low-rank additions of the layer's own behind one product."""
    n = net.norm(torch.cat([net.norm(x), x], -1))
    low = net.linear(n, 9).split(3, -1)
    q, k, v = (net.linear(n, Y) + net.linear(r, Y) for r in low)
    return x + net.linear(net.flash(A, net.rotary(q), net.rotary(k), v), H)


RQ, RKV, DN, DR, DI, AI = 12, 16, 8, 4, 6, 2


def indexer(net, q, k, heads=AI):
    """Scores of keys, of which a loss of its own trains the weights (arXiv 2512.02556, section 2.1.1)."""
    return net.flash(heads, net.rotary(q), net.rotary(k), out=1)


def latent(rank=True, sparse=False, gate=False):
    def layer(net, x):
        n = net.norm(x)
        low = net.norm(net.linear(n, RQ)) if rank else n
        q = torch.cat([net.linear(low, A * DN), net.rotary(net.linear(low, A * DR))], -1)
        c, key = net.norm(net.linear(n, RKV)), net.rotary(net.linear(n, DR))
        k = torch.cat([net.linear(c, A * DN), key.repeat(1, 1, A)], -1)
        scores = 0
        if sparse:
            scores = indexer(net, net.linear(low, AI * DI), net.norm(net.linear(n, DI))) + net.linear(n, AI).sum()
        out = net.flash(A, q, k, net.linear(c, Y))
        if gate:
            out = fused(lambda o, g: o * g, out, net.linear(n, Y))
        return x + net.linear(out, H) + scores

    return layer


M, GO, RO = 4, 2, 6  # tokens of a compressed key, groups of the output, rank of each


def compressed(net, x):
    """DeepSeek-V4: one kernel on the window's keys and the compressed ones; the key is the value too."""

    def compress(d):  # overlapping groups: twice as wide
        candidates, gates = net.linear(n, 2 * d), net.linear(n, 2 * d)
        return fused(lambda c, g: (c * g.softmax(-1))[..., :d].unflatten(1, (-1, M)).sum(2), candidates, gates)

    def pair(q, k, short, width):
        return torch.cat([q, k, short.repeat_interleave(M, 1)], -1).cumsum(1) @ width

    n = net.norm(x)
    low = net.norm(net.linear(n, RQ))
    q, k = net.rotary(net.linear(low, Y)), net.rotary(net.norm(net.linear(n, D)))
    short, index_keys = compress(D), compress(DI)
    width, small = torch.randn(Y + 2 * D, Y), torch.randn(AI * DI + DI, 1)
    net.constants += [width, small]
    out = Kernel.apply(lambda q, k, short: pair(q, k, short, width), A, q, k, short)
    scores = Kernel.apply(
        lambda q, k: torch.cat([q, k.repeat_interleave(M, 1)], -1) @ small, AI, net.linear(low, AI * DI), index_keys
    )
    parts = [part @ net.weight(Y // GO, RO) for part in out.split(Y // GO, -1)]
    return x + net.linear(torch.cat(parts, -1), H) + scores + net.linear(n, AI).sum()


CH, N, RDT = 40, 3, 5  # channels of a state space, its state size, rank of its steps


def mamba(normed=False):
    def layer(net, x):
        n = net.norm(x)
        c, z = net.conv(net.linear(n, CH)), net.linear(n, CH)
        selected = net.linear(c, RDT + 2 * N)
        if normed:
            selected = net.norm(selected)
        steps = net.linear(selected[..., :RDT], CH)
        return x + net.linear(net.scan(CH, c, steps, z, selected[..., RDT:]), H)

    return layer


def gate_norm(net, out, gate):
    return fused(lambda o, g, w: F.rms_norm(o * F.silu(g), o.shape[-1:], w), out, gate, net.weight(out.shape[-1]))


AM, DM = 4, 10  # heads of Mamba 2 and their channels


def mamba2(net, x, residual=True):
    n = net.norm(x) if residual else x
    mixed = net.conv(net.linear(n, AM * DM + 2 * N))
    out = net.scan(AM * DM, mixed, net.linear(n, AM))
    out = net.linear(gate_norm(net, out, net.linear(n, AM * DM)), H)
    return x + out if residual else out


def beside_mamba2(net, x):
    """Falcon H1: both on one input."""
    return x + attention(behind=lambda net, _, n, out: out + mamba2(net, n, residual=False))(net, x)


AL, DK, DV = 4, 6, 8  # heads of linear attention, their keys, their values


def gated_delta(rank=0):
    def layer(net, x):
        n = net.norm(x)
        mixed, betas = net.conv(net.linear(n, 2 * AL * DK + AL * DV)), net.linear(n, AL)
        if rank:
            decays, gate = net.linear(net.linear(n, rank), AL * DK), net.linear(net.linear(n, rank), AL * DV)
        else:
            decays, gate = net.linear(n, AL), net.linear(n, AL * DV)
        return x + net.linear(gate_norm(net, net.scan(AL * DV, mixed, betas, decays), gate), H)

    return layer


def lightning(net, x):
    n = net.norm(x)
    out = net.scan(Y, *(net.linear(n, Y) for _ in range(3)))
    return x + net.linear(gate_norm(net, out, net.linear(n, Y)), H)


def short_conv(net, x):
    n = net.norm(x)
    first, second, value = (net.linear(n, H) for _ in range(3))
    return x + net.linear(second * net.conv(first * value), H)


def rg_lru(net, x):
    n = net.norm(x)
    c, other = net.conv(net.linear(n, CH)), net.linear(n, CH)
    blocks = c.view(B, S, 4, CH // 4)
    gates = [torch.einsum("bsgk,gkn->bsgn", blocks, net.weight(4, CH // 4, CH // 4)).flatten(2) for _ in range(2)]
    return x + net.linear(net.scan(CH, c, *gates, other), H)


def shifted(x, shares):
    before = F.pad(x, (0, 0, 1, -1))
    return tuple(x * share + before * (1 - share) for share in shares)


def time_mix(net, x):
    mixes = fused(shifted, net.norm(x), net.weight(3, H))
    return x + net.linear(net.scan(Y, *(net.linear(each, Y) for each in mixes)), H)


# -- MLPs ---------------------------------------------------------------------------------------------------


def gated(net, n, size=I):
    return net.linear(fused(lambda g, u: F.silu(g) * u, net.linear(n, size), net.linear(n, size)), H)


def plain(net, n, size=I):
    return net.linear(F.gelu(net.linear(n, size)), H)


def mlp(inner):
    return lambda net, x: x + inner(net, net.norm(x))


def with_sub_norm(net, n):
    out = fused(lambda g, u: F.silu(g) * u, net.linear(n, I), net.linear(n, I))
    return net.linear(net.norm(out), H)


def with_adapter(net, x):
    out = x + plain(net, net.norm(x))
    return out + plain(net, net.norm(out), 6)


def adapted(net, n):
    both = net.linear(n, 2 * I) + net.linear(net.linear(n, 3), 2 * I)
    return net.linear(net.linear(fused(lambda x: F.silu(x[..., :I]) * x[..., I:], both), H), H)


def channel_mix(net, n):
    keys, receptance = fused(shifted, n, net.weight(2, H))
    up = fused(lambda x: F.relu(x) ** 2, net.linear(keys, I))
    return fused(lambda r, v: r.sigmoid() * v, net.linear(receptance, H), net.linear(up, H))


E, K, FE, FS, HM = 4, 2, 24, 20, 16  # experts, those that a token takes, MLP sizes, size that experts work in


def experts(inner=gated, shared=False, gate=False, size=H, scales=False, norms=False):
    """Copies of each token's row for its K experts, of which one holds all the weights that this test needs."""

    def layer(net, n):
        chosen = net.norm(n) if scales else n
        weights = net.linear(chosen, E)[..., :K]
        rows = net.norm(n) if norms else n
        rows = net.linear(rows, size) if size != H else rows
        rows = rows.repeat(1, K, 1)  # copied: B, K·S
        if inner is gated:
            each = fused(lambda g, u: F.silu(g) * u, net.linear(rows, FE), net.linear(rows, FE))
        else:
            each = F.gelu(net.linear(rows, FE))
        each = net.linear(each, size)
        out = fused(lambda y, w: (y.view(B, K, S, -1) * w.mT.unsqueeze(-1)).sum(1), each, weights)
        out = net.linear(out, H) if size != H else out
        beside = inner(net, n, FS) if shared else 0
        if gate:
            beside = fused(lambda y, g: y * g.sigmoid(), beside, net.linear(n, 1))
        if norms:
            out, beside = net.norm(out), net.norm(beside)
        return net.norm(out + beside) if norms else out + beside

    return layer


# -- streams ------------------------------------------------------------------------------------------------

NA, RL, HL, NH = 3, 4, 6, 3


def layer_input(net, x):
    own = torch.randn(B, S, HL, requires_grad=True)
    return x + net.norm(net.linear(fused(lambda g, e: F.gelu(g) * e, net.linear(x, HL), own), H))


def altup(net, x):
    streams = torch.stack([x, 2 * x, 3 * x], -1)
    routed = net.linear(fused(lambda s, w: F.rms_norm(s[..., 0], (H,), w), streams, net.weight(H)), NA).tanh()
    predicted = streams @ net.linear(routed, NA * NA).view(B, S, NA, NA)
    laurel = net.norm(net.linear(net.linear(x + 1, RL), H))
    activated = laurel + predicted[..., 0]
    share = net.linear(net.linear(net.norm(activated), NA).tanh(), NA)
    return predicted + fused(lambda a, c: a.unsqueeze(-1) * c.unsqueeze(-2), activated - predicted[..., 0], share)


def hyper(mixing):
    def layer(net, x):
        streams = torch.stack([x, 2 * x, 3 * x], -2)
        for _ in range(2):
            weights = net.linear(streams.flatten(2), 2 * NH + (NH * NH if mixing else 0))
            first, second, mix = weights[..., :NH], weights[..., NH : 2 * NH], weights[..., 2 * NH :]
            block = 2 * (first.unsqueeze(-2) @ streams)
            kept = mix.unflatten(-1, (NH, NH)) @ streams if mixing else streams
            streams = kept + second.unsqueeze(-1) * block
        return streams

    return layer


PLAIN_ATTENTION = {"num_attention_heads": A, "num_key_value_heads": G, "head_dim": D, "v_head_dim": D}
LATENT = {
    "num_attention_heads": A,
    "kv_lora_rank": RKV,
    "qk_nope_head_dim": DN,
    "qk_rope_head_dim": DR,
    "v_head_dim": D,
}
SPARSE = {"q_lora_rank": RQ, "index_topk": 4, "index_n_heads": AI, "index_head_dim": DI}
COMPRESSED = {"num_attention_heads": A, "head_dim": D, "o_groups": GO, "o_lora_rank": RO, "sliding_window": 8} | SPARSE
MAMBA = {"mamba_expand": 1, "mamba_intermediate_size": CH, "mamba_d_state": N, "mamba_d_conv": 4, "mamba_dt_rank": RDT}
MAMBA2 = {"mamba_n_heads": AM, "mamba_d_head": DM, "mamba_d_state": N, "mamba_d_conv": 4}
DELTA = {
    "linear_num_key_heads": AL,
    "linear_num_value_heads": AL,
    "linear_key_head_dim": DK,
    "linear_value_head_dim": DV,
    "linear_conv_kernel_dim": 4,
}
EXPERTS = {"num_experts": E, "num_experts_per_tok": K, "moe_intermediate_size": FE}
SHARED = EXPERTS | {"shared_expert_intermediate_size": FS}


def sandwich(net, x, _, out):
    return x + net.norm(out)


def parallel(net, x, n, out):
    return x + out + gated(net, n)


# A block, its layer in torch, and what torch saves beyond ours, in elements a token.
CASES = {
    "attention": (("attention", PLAIN_ATTENTION), attention(), 0),
    "torch's fused attention": (("attention", PLAIN_ATTENTION | {"num_key_value_heads": A}), sdpa, 0),
    "gate a head": (("attention", PLAIN_ATTENTION | {"attention_gate": "head"}), attention(gate=A), 0),
    "gate a channel": (("attention", PLAIN_ATTENTION | {"attention_gate": "channel"}), attention(gate=Y), 0),
    "norm of q and k": (("attention", PLAIN_ATTENTION | {"qk_norm": "head"}), attention(qk_norm=True), 0),
    "sub-norm": (("attention", PLAIN_ATTENTION | {"sub_norm": True}), attention(sub_norm=True), 0),
    "gate and sub-norm": (
        ("attention", PLAIN_ATTENTION | {"attention_gate": "channel", "sub_norm": True}),
        attention(gate=Y, sub_norm=True),
        0,
    ),
    "differential": (("attention", PLAIN_ATTENTION | {"differential": True}), attention(differential=True), 0),
    "tied keys and values": (("attention", PLAIN_ATTENTION | {"keys_and_values": "tied"}), attention(tied=True), 0),
    "shared keys and values": (("attention", PLAIN_ATTENTION | {"keys_and_values": "shared"}), shared_keys, 0),
    "q and v with a bias": (
        ("attention", PLAIN_ATTENTION | {"attention_bias": True, "no_key_bias": True}),
        attention(),
        0,
    ),
    "on the embedding": (
        (
            "attention",
            PLAIN_ATTENTION | {"num_key_value_heads": A, "on_embedding": True, "qkv_adapter_rank": 3},
        ),
        on_embedding,
        0,
    ),
    "sandwich norms": (
        ("attention", PLAIN_ATTENTION, {"norms": "sandwich"}),
        attention(behind=sandwich),
        0,
    ),
    "parallel MLP": (
        ("attention", PLAIN_ATTENTION, {"norms": "parallel", "mlp": MLPS["gated"](I)}),
        attention(behind=parallel),
        0,
    ),
    "latent attention": (("latent", LATENT), latent(rank=False), 0),
    "latent queries": (("latent", LATENT | {"q_lora_rank": RQ}), latent(), 0),
    "gated latent attention": (
        ("latent", LATENT | {"q_lora_rank": RQ, "attention_gate": "channel"}),
        latent(gate=True),
        0,
    ),
    "sparse latent attention": (("latent", LATENT | SPARSE), latent(sparse=True), 0),
    # window and compressed keys are two kernels of ours, with a number a query and head each: torch's has one
    "compressed attention": (("compressed", COMPRESSED | {"compress_rate": M}), compressed, -A),
    "mamba": (("mamba", MAMBA), mamba(), 0),
    # behind the norm, step, B and C are in one storage, all of which the step's product and the scan keep
    "mamba with norms": (("mamba", MAMBA | {"mamba_norm": "weighted"}), mamba(normed=True), 0),
    "mamba 2": (("mamba2", MAMBA2), mamba2, 0),
    "attention beside mamba 2": (("attention-mamba2", PLAIN_ATTENTION | MAMBA2), beside_mamba2, 0),
    "gated delta": (("gated-delta", DELTA), gated_delta(), 0),
    "kimi delta": (
        ("gated-delta", DELTA | {"linear_decay": "channel", "linear_gate_rank": 5}),
        gated_delta(rank=5),
        0,
    ),
    "lightning": (("lightning", {"linear_num_heads": A, "linear_head_dim": D}), lightning, 0),
    "short convolution": (("short-conv", {"conv_L_cache": 4}), short_conv, 0),
    "RG-LRU": (("rg-lru", {"lru_blocks": 4, "conv1d_width": 4, "lru_width": CH}), rg_lru, 0),
    "time mix": (("time-mix", {"attention_hidden_size": Y}), time_mix, 0),
    "gated MLP": (("gated", {"intermediate_size": I}), mlp(gated), 0),
    "gated MLP with a sub-norm": (("gated", {"intermediate_size": I, "sub_norm": True}), mlp(with_sub_norm), 0),
    "plain MLP": (("plain", {"intermediate_size": I}), mlp(plain), 0),
    "plain MLP with an adapter": (
        ("plain", {"intermediate_size": I, "num_adapters": 1, "adapter_size": 6}),
        with_adapter,
        0,
    ),
    "adapted MLP": (("adapted", {"intermediate_size": I, "mlp_adapter_rank": 3}), mlp(adapted), 0),
    "channel mix": (("channel-mix", {"intermediate_size": I}), mlp(channel_mix), 0),
    # router weights of the experts that a token takes: E numbers a token, which the weighted sum keeps
    "experts": (("experts", EXPERTS), mlp(experts()), E),
    "plain experts": (("experts", EXPERTS | {"expert_gated": False}), mlp(experts(plain)), E),
    "shared experts": (("experts", SHARED), mlp(experts(shared=True)), E),
    # the shared experts' output and its gate, whose product is a part of the sum over experts here
    "shared experts behind a gate": (
        ("experts", SHARED | {"shared_expert_gate": True}),
        mlp(experts(shared=True, gate=True)),
        E + H + 1,
    ),
    "experts in a latent size": (("experts", EXPERTS | {"moe_latent_size": HM}), mlp(experts(size=HM)), E),
    "experts between norms": (
        ("experts", SHARED | {"router_scales": True, "branch_norms": True, "output_norm": True}),
        mlp(experts(shared=True, scales=True, norms=True)),
        E,
    ),
    "layer inputs": (
        ("LayerInputs", {"hidden_size_per_layer_input": HL, "vocab_size_per_layer_input": 10}),
        layer_input,
        0,
    ),
    # what each stream gets of the correction: a number a stream
    "AltUp": (("AlternatingUpdates", {"altup_num_inputs": NA, "laurel_rank": RL}), altup, NA),
    # weights of sum and spreading, two numbers a stream, for mixer and MLP each
    "hyper-connections": (("HyperConnections", {"hc_mult": NH}), hyper(mixing=False), 2 * 2 * NH),
    "mixing hyper-connections": (
        ("HyperConnections", {"hc_mult": NH, "hc_mixing": True}),
        hyper(mixing=True),
        2 * 2 * NH,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_layer_keeps_what_autograd_saves(case):
    block, layer, beyond = CASES[case]
    assert ours(block) + beyond == torchs(layer)


def test_every_block_that_trains_is_here():
    """A layer that looks at images and an absent one run no kernel; newer blocks are not compared yet."""
    kinds = {*MIXERS, *MLPS, *(kind.__name__ for kind in STREAMS)} - {"image", "none"}
    kinds -= {"time-mix-7", "AttentionResiduals", "Glyphs", "TargetStates", "DraftInput"}
    kinds -= {"routed", "convolved", "relative", "mlstm", "local", "disentangled", "LatentPooling"}
    kinds -= {"RewardGates", "AnswerMlp", "TaskAdapters", "GatedResiduals", "depth-relative", "LastSum"}
    assert {block[0] for block, _, _ in CASES.values()} == kinds
