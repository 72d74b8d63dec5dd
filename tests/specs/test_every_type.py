"""Every default config through every question: answered, or refused in one message, never with a traceback.

Estimates and operators are asked of every type. Training and formulas take a hundred times as long and differ by
structure alone: they are asked of one type for each combination of blocks.
"""

import pytest

from llmcost.formulas.operators import phase_operators
from llmcost.formulas.serving import explain
from llmcost.formulas.training import explain_training
from llmcost.ground.errors import InputError
from llmcost.serving.estimate import estimate
from llmcost.serving.options import PHASES, Options
from llmcost.specs.catalog import load_hardware
from llmcost.specs.importer.architectures import all_types
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
    return frozenset(layers), tuple(map(type, model.streams)), model.norm, model.position_embedding


MODELS, REFUSED = {}, {}
for each in all_types():
    try:
        MODELS[each] = imported(each)
    except InputError as error:
        REFUSED[each] = str(error)
OF_EACH_STRUCTURE = {structure(model): kind for kind, model in MODELS.items()}.values()


def test_a_default_config_is_refused_for_a_key_that_its_type_has_no_default_for():
    assert len(MODELS) > 7 * len(REFUSED)
    assert all(message.endswith("is missing") for message in REFUSED.values()), REFUSED


@pytest.mark.parametrize("kind", MODELS)
def test_every_type_is_estimated_and_listed(kind):
    model = MODELS[kind]
    rates = estimate(model, GPU, SHORT).decode
    assert rates.limit.tokens_per_s >= rates.expected.tokens_per_s > 0
    for phase in PHASES:
        assert phase_operators(model, GPU, SHORT, phase).total.seconds > 0


@pytest.mark.parametrize("kind", OF_EACH_STRUCTURE)
def test_every_structure_is_trained_and_explained_with_the_values_that_are_computed(kind):
    model = MODELS[kind]
    answer = estimate(model, GPU, SHORT)
    explained = {each.quantity: each.value for each in explain(model, GPU, SHORT)}
    assert explained["memory.max_batch"] == answer.memory.max_batch
    assert explained["model.params.total"] == answer.model.params.total
    assert explained["decode.expected.seconds_per_step"] == pytest.approx(answer.decode.expected.seconds_per_step)
    trained = train(model, GPU, ONE_GPU)
    (mfu,) = explain_training(model, GPU, ONE_GPU, "mfu")
    assert mfu.value == pytest.approx(trained.mfu)
    assert 0 < trained.mfu < 1


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
