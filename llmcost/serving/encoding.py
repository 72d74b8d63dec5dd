"""Images and sounds in prompts: what the towers compute for them in prefill, and which tokens of a prompt are theirs.

Every sequence of the batch has as many of one size. They are among the tokens of `--prompt`: the text model's figures
stay what they are, and the towers' come on top. Each GPU of a tensor-parallel group has a share of a tower's layers, as
vLLM divides them (docs.vllm.ai, `mm_encoder_tp_mode`: weights); with pipeline stages they run on the first.
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, is_one, present
from llmcost.ground.errors import InputError
from llmcost.model.architecture import Pass
from llmcost.model.counting import PassCost, count_pass
from llmcost.model.operators import Operator
from llmcost.model.sound_tokens import PIECE
from llmcost.model.spec import ModelSpec
from llmcost.model.token_places import NotTakenError, Tokens
from llmcost.model.towers import Tower
from llmcost.parallel.pipeline import Server, mean_share, rank_share
from llmcost.serving.options import IMAGE_SIZE, Workload
from llmcost.serving.phases import RankSeconds, share_of_others
from llmcost.serving.results import Encoding


class Input(NamedTuple):
    """What a tower takes in of each sequence: how many images or pieces of sound, and the tokens of one."""

    tower: Tower
    each: int
    tokens: Tokens


class Encoded(NamedTuple):
    """The same with its cost: of the whole batch, of one GPU on average, and expected seconds of a rank."""

    answer: Encoding
    whole: PassCost
    share: PassCost
    seconds: RankSeconds | None  # None: a figure of the GPU is not known

    def after(self, prompts: RankSeconds) -> RankSeconds:
        """The seconds of prompts with those of their images and sounds before them."""
        if self.seconds is None or prompts.fullest is None:
            return RankSeconds(None)
        others = None if prompts.others is None else prompts.others + self.seconds.others
        return RankSeconds(prompts.fullest + self.seconds.fullest, others)


def pixels(text: str) -> tuple[int, int]:
    """Width and height of an image size such as 1024x768, which `image_size` has checked."""
    width, height = text.lower().replace("×", "x").split("x")
    return int(width), int(height)


def inputs(model: ModelSpec, w: Workload) -> list[Input]:
    """What each tower takes in. Raises InputError where the model has no such tower, or its rule is not known."""
    asked = []
    if w.images is not None:
        asked.append(
            ("--images", f"{w.images:,}", False, w.images, tuple(map(float, pixels(w.image_size or IMAGE_SIZE))))
        )
    if w.audio is not None and not _hears(model):
        asked.append(("--audio", f"{w.audio:g}", True, 1, (float(w.audio),)))
    if w.images is None and w.image_size is not None:
        raise InputError(f"--image-size {w.image_size}: of how many images? say it with --images")
    found = []
    for flag, told, hears, each, size in asked:
        tower = next((each for each in model.towers if each.rule != "speaks" and each.hears == hears), None)
        if tower is None:
            raise InputError(f"{flag} {told}: {model.name} has no tower for it that is counted here")
        if tower.rule == "unknown":
            why = f"the weights of its {tower.title} are counted, but not what it computes: its rule is not known"
            raise InputError(f"{flag} {told}: {why}")
        try:
            found.append(Input(tower, int(each), tower.tokens(size)))
        except NotTakenError as error:
            option = f"--audio {w.audio:g}" if hears else f"--image-size {w.image_size or IMAGE_SIZE}"
            raise InputError(f"{option}: {error}") from None
    return found


def _hears(model: ModelSpec) -> bool:
    """Whether the encoder beside its decoder reads sound: then that is its whole prompt."""
    return model.encoder is not None and present(model.encoder.mel_bins)


def _check_piece(model: ModelSpec, seconds: Number, prompt: Number) -> None:
    """Raise InputError for sound that is no piece of PIECE seconds, which is padded, or for a prompt of another length.

    `model` has an encoder of sound.
    """
    assert model.encoder is not None
    positions = model.encoder.max_position_embeddings
    if seconds > PIECE:
        why = f"{model.name} hears pieces of {PIECE} seconds, each a sequence of its own (--batch)"
        raise InputError(f"--audio {seconds:g}: {why}")
    if prompt != positions:
        raise InputError(f"--prompt {prompt:,}: sound is padded to {PIECE} seconds, {positions:,} positions")


def states_of(model: ModelSpec, w: Workload) -> Number:
    """States of images that the text model's own layers look at, of the prompt of one sequence."""
    if w.images is None or not model.looks_at_images():
        return 0
    return sum(each.each * each.tokens.merged[0] * each.tokens.merged[1] for each in inputs(model, w))


def check_inputs(model: ModelSpec, w: Workload, prompt: Number) -> None:
    """Raise InputError where images and sound cannot be counted, or are more tokens than the prompt has."""
    if w.images is None and w.audio is None and w.image_size is None:
        return
    if w.audio is not None and _hears(model):
        _check_piece(model, w.audio, prompt)
    given = inputs(model, w)
    if w.is_mix() and given:
        flag = "--images" if w.images is not None else "--audio"
        raise InputError(f"{flag}: what towers add to a mix of requests is not counted yet, only to a batch's prefill")
    tokens = sum(each.each * each.tokens.prompt for each in given)
    if tokens > prompt:
        raise InputError(
            f"--prompt {prompt:,}: the images and sound in it are {tokens:,} tokens, which --prompt and --context count"
        )


def running(given: list[Input], sequences: Number, Bx: Number) -> Pass:
    """The kernels of the towers for the prompts of so many sequences."""
    return Pass([op for each in given for op in each.tower.running(sequences * each.each, each.tokens, Bx)], [], [])


def with_towers(share: list[Operator], server: Server, given: list[Input], sequences: Number) -> list[Operator]:
    """One GPU's operators of a prefill with those of the towers that run, in place of their stored weights."""
    seen = [each.tower for each in given]
    Bx = server.size.Bx
    idle = [op for tower in server.model.towers for op in (tower.idle(Bx) if tower in seen else tower.stored(Bx))]
    ran = Pass([*running(given, sequences, Bx).first, *idle], [], [])
    return [*server.divided(ran).operators(), *(op for op in share if op.part != "tower")]


def encode(server: Server, w: Workload) -> Encoded | None:
    """What the towers do for the prompts; None where there is nothing to look at or listen to."""
    given = inputs(server.model, w)
    if not given:
        return None

    def seconds(sequences: Number) -> Number:
        times = server.kernels(server.divided(running(given, sequences, server.size.Bx)))
        return None if times is None else sum(times)

    whole = count_pass(running(given, w.batch, server.size.Bx).operators())
    mean = server.divided(running(given, mean_share(w.batch, w.dp), server.size.Bx)).operators()
    fullest = seconds(rank_share(w.batch, w.dp))
    others = None if fullest is None or is_one(w.dp) else seconds(share_of_others(w))
    tokens = sum(each.each * each.tokens.prompt for each in given)
    return Encoded(
        Encoding(tokens, whole.flops(causal=False)),
        whole,
        count_pass(mean).over(server.pp),
        None if fullest is None else RankSeconds(fullest, others),
    )
