"""Blocks: what layers are made of. One module a kind; each says what a spec must give and which kernels run.

A layer has a mixer (attention or what stands in its place) and an MLP; a model may keep more than the residual
stream. To add a kind: a named tuple of its sizes and flags with `operators`, and a line in a registry below.
"""

from typing import Any

from llmcost.model.blocks.attention import GroupedAttention
from llmcost.model.blocks.builder import Block, Builder, NoBlock, sizes_of
from llmcost.model.blocks.compressed import CompressedAttention
from llmcost.model.blocks.convolved_attention import ConvolvedAttention
from llmcost.model.blocks.cross import CrossAttention, ImageLayer
from llmcost.model.blocks.depth_attention import DepthAttention, LastSum
from llmcost.model.blocks.disentangled import DisentangledAttention
from llmcost.model.blocks.experts import Experts
from llmcost.model.blocks.gated_delta import GatedDelta
from llmcost.model.blocks.gated_residuals import GatedResiduals
from llmcost.model.blocks.label_heads import AnswerMlp, RewardGates, TaskAdapters
from llmcost.model.blocks.latent import LatentAttention
from llmcost.model.blocks.latent_pooling import LatentPooling
from llmcost.model.blocks.lightning import LightningAttention
from llmcost.model.blocks.local_attention import LocalAttention
from llmcost.model.blocks.mamba import Mamba
from llmcost.model.blocks.mamba2 import Mamba2
from llmcost.model.blocks.mlp import AdaptedMlp, GatedMlp, PlainMlp
from llmcost.model.blocks.mlstm import MatrixLstm
from llmcost.model.blocks.parallel_mixers import beside
from llmcost.model.blocks.relative_attention import RelativeAttention
from llmcost.model.blocks.rg_lru import RgLru
from llmcost.model.blocks.routed_attention import RoutedAttention
from llmcost.model.blocks.rwkv import ChannelMix, TimeMix, TimeMix7
from llmcost.model.blocks.short_conv import ShortConv
from llmcost.model.blocks.streams import (
    AlternatingUpdates,
    AttentionResiduals,
    DraftInput,
    Glyphs,
    HyperConnections,
    LayerInputs,
    Streams,
    TargetStates,
)

MIXERS: dict[str, Any] = {
    "attention": GroupedAttention,
    "latent": LatentAttention,
    "compressed": CompressedAttention,
    "routed": RoutedAttention,
    "convolved": ConvolvedAttention,
    "relative": RelativeAttention,
    "depth-relative": DepthAttention,
    "local": LocalAttention,
    "disentangled": DisentangledAttention,
    "mamba": Mamba,
    "mamba2": Mamba2,
    "attention-mamba2": beside(GroupedAttention, Mamba2),
    "gated-delta": GatedDelta,
    "lightning": LightningAttention,
    "short-conv": ShortConv,
    "rg-lru": RgLru,
    "time-mix": TimeMix,
    "time-mix-7": TimeMix7,
    "mlstm": MatrixLstm,
    "image": ImageLayer,
    "none": NoBlock,
}
MLPS: dict[str, Any] = {
    "gated": GatedMlp,
    "plain": PlainMlp,
    "adapted": AdaptedMlp,
    "channel-mix": ChannelMix,
    "experts": Experts,
    "none": NoBlock,
}
STREAMS: tuple[Any, ...] = (
    LayerInputs,
    AlternatingUpdates,
    HyperConnections,
    GatedResiduals,
    LastSum,
    AttentionResiduals,
    Glyphs,
    TargetStates,
    DraftInput,
    LatentPooling,
    RewardGates,
    AnswerMlp,
    TaskAdapters,
)

__all__ = [
    "MIXERS",
    "MLPS",
    "STREAMS",
    "Block",
    "Builder",
    "CompressedAttention",
    "CrossAttention",
    "Experts",
    "GatedMlp",
    "GroupedAttention",
    "LatentAttention",
    "NoBlock",
    "PlainMlp",
    "Streams",
    "sizes_of",
]
