"""Every default config through every question: answered, or refused in one message, never with a traceback.

Estimates and operators are asked of every type. Training and formulas take a hundred times as long and differ by
structure alone: they are asked of one type for each combination of blocks; so are commands that make several estimates.
"""

import json

import pytest

import llmcost
from llmcost.formulas.operators import phase_operators
from llmcost.formulas.serving import explain
from llmcost.formulas.training import explain_training
from llmcost.ground.errors import InputError
from llmcost.serving.estimate import estimate
from llmcost.serving.options import PHASES, Options
from llmcost.specs.catalog import load_hardware
from llmcost.specs.importer.architectures import all_types, architecture
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from
from llmcost.training.options import Options as TrainingOptions
from llmcost.training.train import train

GPU = load_hardware("h100-sxm")
SHORT = Options(context=128)
ONE_GPU = TrainingOptions(seq=128, tp=1, pp=1, zero=1, recompute="full")


def imported(kind, **keys):
    return model_from(document_of({"model_type": kind, **keys}, "config.json", kind))


def structure(model):
    """What a model is made of, without its sizes."""
    layers = [(type(each.mixer), type(each.mlp), each.norms, each.cross_attention is None) for each in model.layers]
    whole = (model.norm, model.position_embedding, model.generates, model.encoder is None)
    return frozenset(layers), tuple(map(type, model.streams)), *whole


MODELS, REFUSED = {}, {}
for each in all_types():
    try:
        MODELS[each] = imported(each)
    except InputError as error:
        REFUSED[each] = str(error)
OF_EACH_STRUCTURE = {structure(model): kind for kind, model in MODELS.items()}.values()


def test_a_default_config_is_refused_for_a_key_that_its_type_has_no_default_for():
    assert len(MODELS) > 5 * len(REFUSED)
    others = {kind: message for kind, message in REFUSED.items() if not message.endswith("is missing")}
    assert "heads of an even width, got 73" in others.pop("qwen3_omni_moe_text")  # 2048 over 28 heads
    alone = {
        kind
        for kind in REFUSED
        if architecture(kind).get("encoder_decoder") and "encoder_stack" not in architecture(kind)
    }
    assert alone == others.keys(), REFUSED


@pytest.mark.parametrize("kind", MODELS)
def test_every_type_is_estimated_and_listed(kind):
    model = MODELS[kind]
    found = estimate(model, GPU, SHORT)
    rates = found.decode if model.generates else found.prefill
    assert rates.limit.tokens_per_s >= rates.expected.tokens_per_s > 0
    for phase in PHASES if model.encoder is None else PHASES[:2]:
        assert phase_operators(model, GPU, SHORT, phase).total.seconds > 0


@pytest.mark.parametrize("kind", OF_EACH_STRUCTURE)
def test_every_structure_is_trained_and_explained_with_the_values_that_are_computed(kind):
    model = MODELS[kind]
    answer = estimate(model, GPU, SHORT)
    explained = {each.quantity: each.value for each in explain(model, GPU, SHORT)}
    assert explained["memory.max_batch"] == answer.memory.max_batch
    assert explained["model.params.total"] == answer.model.params.total
    phase, seconds = ("decode", "seconds_per_step") if model.generates else ("prefill", "seconds")
    expected = getattr(getattr(answer, phase).expected, seconds)
    assert explained[f"{phase}.expected.{seconds}"] == pytest.approx(expected)
    if model.encoder is not None:
        with pytest.raises(InputError, match="whose training is not counted"):
            train(model, GPU, ONE_GPU)
        return
    trained = train(model, GPU, ONE_GPU)
    (mfu,) = explain_training(model, GPU, ONE_GPU, "mfu")
    assert mfu.value == pytest.approx(trained.mfu)
    assert 0 < trained.mfu < 1


H100 = ("--hw", "h100")
MIX = ("-c", "128", "--prompt", "100", "--output", "20", "--concurrency", "8")
COMMANDS = {  # every command that reads a config, as few GPUs and tokens as it takes
    "estimate": (*H100, "-c", "128", "--json"),
    "estimate ": (*MIX, "--engine", "optimised", *H100),
    "estimate  ": (*MIX, *H100),
    "explain": ("-c", "128"),
    "ops": ("--phase", "train", "-c", "128"),
    "import": (),
    "check": (),
    "models": ("--json",),
    "compare": ("gpt2-xl", *H100, "-c", "128"),
    "sweep": (*H100, "-b", "1,2", "-c", "128", "--csv"),
    "mfu": (*H100, "--tokens-per-s", "100", "--seq", "128"),
    "fit": (*H100, "--gpus", "1,8", "-c", "128"),
    "train": (*H100, "--gpus", "1", "--seq", "128", "--recompute", "full", "--zero", "0", "--tp", "1", "--pp", "1"),
    "plan": (*H100, "--gpus", "1", "--seq", "128", "--global-batch", "2", "--recompute", "none"),
    "plan ": (*H100, "--gpus", "1", "--serve", "--prompt", "64", "--output", "32"),
}


SEVERAL_ESTIMATES = ("compare", "sweep", "fit", "estimate  ", "plan ")  # or steps of an engine


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_answers_every_default_config_or_says_why_not(cli, command, tmp_path):
    """Exit code 0, or 1 where the model fits no GPU, or 2 with the key that a default config lacks."""
    for kind in [*OF_EACH_STRUCTURE, *REFUSED] if command in SEVERAL_ESTIMATES else all_types():
        path = tmp_path / f"{kind}.json"
        path.write_text(json.dumps({"model_type": kind}), "utf-8")
        answer = cli(command.strip(), path, *COMMANDS[command])
        if kind in MODELS and not MODELS[kind].generates and {"--output", "--serve"} & {*COMMANDS[command]}:
            assert answer.code == 2, kind
            assert "gives no tokens" in answer.err
            continue
        trains = command in ("train", "plan", "mfu") or "train" in COMMANDS[command]
        if kind in MODELS and MODELS[kind].encoder is not None and trains:
            assert answer.code == 2, kind
            assert "training is not counted" in answer.err
            continue
        expected = (0, 1) if kind in MODELS else (1,) if command == "check" else (2,)
        assert answer.code in expected, (kind, answer.err)
        assert kind in MODELS or REFUSED[kind].split(": ")[-1] in answer.out + answer.err


# Gemma 4's assistant: all of its layers read the cache of the model that it drafts for.
WITHOUT_A_CACHE = {
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 4,
    "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
}


@pytest.mark.parametrize(
    "options",
    [
        Options(context=512),
        Options(context=512, batch=3, pp=2),
        Options(context=512, batch=4, dp=2),
        Options(context=512, batch=3, batch_prompts=True),
    ],
)
def test_a_model_that_keeps_no_cache_of_its_own_is_limited_by_its_activations(options):
    model = imported("gemma4_text", **WITHOUT_A_CACHE)
    memory = estimate(model, GPU, options).memory
    assert memory.kv_cache_bytes == 0
    assert memory.max_context == model.max_position_embeddings
    (explained,) = explain(model, GPU, options, "memory.max_batch")
    assert explained.value == memory.max_batch
    fullest = estimate(model, GPU, options._replace(batch=memory.max_batch)).memory
    assert fullest.fits
    assert fullest.total_bytes > 0.99 * fullest.usable_bytes


def test_a_model_that_keeps_no_cache_of_its_own_is_planned_to_serve_as_many_as_run_at_a_time():
    model = imported("gemma4_text", **WITHOUT_A_CACHE)
    for gpus in (1, 2):  # one GPU alone has degrees that are plain numbers, several have arrays
        found = llmcost.plan_serving(model, GPU, gpus, prompt=256, output=256)
        assert all(0 < each.max_concurrency < 10**9 for each in found.best)
    mix = Options(prompt=256, output=256, concurrency=8)
    assert estimate(model, GPU, mix).serving.running == 8
