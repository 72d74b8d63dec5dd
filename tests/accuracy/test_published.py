"""The published measurements: complete, sourced, strictly read, and never in the way of another command."""

import subprocess
import sys
from collections import Counter

import pytest

from llmcost.accuracy.cases import FOLDER, class_of, engines, load_cases, source_cases, source_names
from llmcost.accuracy.models import shapes, spec_of
from llmcost.ground.errors import SpecError
from llmcost.ground.units import BITS
from llmcost.model.card import params_of
from llmcost.model.formats import FORMATS
from llmcost.specs.catalog import names

CASES = load_cases()


def test_every_measurement_is_there():
    assert Counter(case.source.kind for case in CASES) == {"inference": 3486, "training": 784, "micro": 845}
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("name", source_names())
def test_a_source_says_where_it_stands_and_what_it_includes(name):
    cases = source_cases(FOLDER / f"{name}.yaml")
    source = cases[0].source
    assert source.url.startswith("https://")
    assert all((source.title, source.by, source.date, source.licence, source.measures))
    assert set(source.remarks) == {case.settings["remark"] for case in cases} - {None}  # each explained, none unused


def test_every_case_names_a_model_a_gpu_an_engine_and_types_that_are_known():
    gpus, models = set(names("hardware")), {*names("models"), *shapes()}
    for case in CASES:
        of = case.settings
        assert of["gpu"] in gpus, case.name
        assert case.source.kind == "micro" or of["model"] in models, case.name
        assert case.source.kind != "inference" or case.engine in engines(), case.name
        assert class_of(case) in ("optimised", "serving", "llama.cpp", "eager", "training", "kernel")
        assert case.source.kind != "inference" or {of["weights"], of["kv"], of["compute"]} <= {*BITS, *FORMATS}, (
            case.name
        )


def test_every_case_measures_something_or_says_that_it_did_not_fit():
    assert all(case.measured or case.settings["oom"] or case.settings["phase"] == "fit" for case in CASES)
    assert not any(case.settings["oom"] and case.measured.keys() - {"memory_bytes", "reserved_bytes"} for case in CASES)


def test_measurements_are_read_in_base_units():
    """One row by hand: GPT 89B on eight A100s, batch 1, 128 in and 8 out, took 279.44 ms."""
    first = source_cases(FOLDER / "fastertransformer.yaml")[0]
    assert first.measured == {"latency_seconds": pytest.approx(0.27944)}
    assert (first.settings["prompt"], first.settings["output"], first.settings["tp"], first.settings["pp"]) == (
        128,
        8,
        8,
        1,
    )


@pytest.mark.parametrize(
    "name, billions",  # as the sources print them, from the shapes that they print
    [
        ("bloom-prequel-78x13824x96", 182),
        ("bloom-prequel-106x12288x64", 195),
        ("gpt-145.6b", 145.6),
        ("gpt-310.1b", 310.1),
        ("gpt-530b", 529.6),
        ("gpt-1t", 1008.0),
        ("gpt-76.1b", 76.1),
        ("mpt-7b", 6.918),
        ("bert-large", 0.335),
        ("opt-1.3b", 1.316),
        ("internlm-20b", 20.1),
        ("qwen-14b", 14.167),
        ("falcon-180b", 180),
    ],
)
def test_a_shape_has_the_parameters_that_its_source_prints(name, billions):
    assert params_of(spec_of(name)) / 1e9 == pytest.approx(billions, rel=0.006)


def test_a_model_without_a_shape_is_not_made_up():
    assert spec_of("gpt3-5b") is None
    assert spec_of("pax-gpt-5b") is None


HEADER = (
    'title: T\nkind: micro\nby: me\nurl: https://x\ndate: "2024"\nlicence: MIT\ntrust: high\nmeasures: time\nrows: |\n'
)


@pytest.mark.parametrize(
    "rows, problem",
    [
        ("gpu,hours\n  h200,1", "'hours' is not a column"),
        ("gpu,gpu\n  h200,h200", "the column 'gpu' stands twice"),
        ("gpu,time_us\n  h200", "row 1 has 1 cells for 2 columns"),
        ("gpu,time_us\n  h200,fast", "row 1: time_us cannot be 'fast'"),
        ("gpu,oom\n  h200,true", "row 1: oom cannot be 'true'"),
        ("gpu,batch\n  h200,1.5", "row 1: batch cannot be '1.5'"),
        ("gpu,remark\n  h200,odd", "row 1: 'odd' is not one of this file's remarks"),
    ],
)
def test_a_file_that_is_not_understood_is_refused_with_its_row(tmp_path, rows, problem):
    path = tmp_path / "mine.yaml"
    path.write_text(HEADER + "  " + rows + "\n", "utf-8")
    with pytest.raises(SpecError, match="rows") as error:
        source_cases(path)
    assert problem in str(error.value)


def test_no_other_command_reads_them():
    code = (
        "import sys\nfrom llmcost.cli import main\nsys.argv = ['llmcost', 'estimate', 'gpt2', '--hw', 'h200']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in sys.modules if m.startswith('llmcost.accuracy')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
