"""Models as their specs say: defaults, and parameters as in their names."""

import re

import pytest
import yaml
from uniform import is_gated, size

from llmcost.ground.errors import InputError
from llmcost.serving.estimate import Options, estimate
from llmcost.specs.catalog import load_hardware, load_model, names
from llmcost.specs.models import model_from
from llmcost.specs.reader import parse_yaml


def test_defaults_are_the_llama_familys():
    required = {
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 100,
    }
    text = yaml.safe_dump(
        {
            "name": "n",
            "title": "t",
            "source": "s",
            **required,
            "max_position_embeddings": 8,
            "tie_word_embeddings": True,
        }
    )
    model = model_from(parse_yaml(text, "f"))
    assert (size(model, "num_key_value_heads"), size(model, "head_dim")) == (4, 16)  # all heads have their own; 64 / 4
    assert (model.position_embedding, model.norm, is_gated(model)) == ("rotary", "rms", True)
    assert (size(model, "attention_bias"), size(model, "mlp_bias"), model.dtype) == (False, False, "bf16")


SAYS = re.compile(r"(?:^|-)(\d+(?:\.\d+)?)b(?:-a(\d+(?:\.\d+)?)b)?(?:-|$)")


ROUNDED_DOWN = {"gemma-2-2b", "llama3.2-1b"}  # 2.6 B and 1.24 B


@pytest.mark.parametrize("name", [name for name in names("models") if SAYS.search(name) and "slides" not in name])
def test_a_model_has_about_as_many_parameters_as_its_name_says(name):
    """Its makers' figure, rounded: a spec that forgets what its MLP is made of is a third off."""
    total, active = SAYS.search(name).groups()
    params = estimate(load_model(name), None, Options(context=1)).model.params
    assert params.total / 1e9 == pytest.approx(float(total), rel=0.35 if name in ROUNDED_DOWN else 0.16)
    assert active is None or params.active / 1e9 == pytest.approx(float(active), rel=0.3)


@pytest.mark.parametrize(("name", "vendor"), [("macbook", "Apple"), ("mac-studio", "Apple"), ("cpu", None)])
def test_a_machine_that_is_no_chip_names_the_chips_in_it(name, vendor):
    with pytest.raises(InputError, match="nearest") as refused:
        load_hardware(name)
    named = str(refused.value).partition("nearest: ")[2].partition(" (")[0].split(", ")
    chips = [load_hardware(each) for each in named]
    assert len(chips) == 4
    assert all(chip.vendor == vendor if vendor else chip.is_cpu() for chip in chips)


@pytest.mark.parametrize(("name", "gib"), [("m4", 64 / 3), ("m2-max", 72.0), ("m3-pro", 27.0), ("m4-max", 96.0)])
def test_a_mac_lets_a_process_use_what_metal_recommends(name, gib):
    """Two thirds of its memory up to 32 GiB, three quarters above: 21,845 MiB of 32 GiB, 73,728 of 96."""
    assert load_hardware(name).usable_memory.value == pytest.approx(gib * 2**30, rel=1e-3)
