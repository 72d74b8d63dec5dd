"""What is installed: it starts light, the wheel carries its specs, and every shipped spec is sound and sourced."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from llmcost.specs.catalog import FOLDERS, find, load_hardware, load_model, names, plain, shipped
from llmcost.specs.hardware import COUNTS, MEASURES, load_hardware_file
from llmcost.specs.models import load_model_file
from llmcost.specs.reader import read_yaml

ROOT = Path(__file__).resolve().parent.parent
MODELS, CHIPS = sorted((ROOT / "models").glob("*.yaml")), sorted((ROOT / "hardware").glob("*.yaml"))
SYSTEMS = sorted((ROOT / "hardware" / "systems").glob("*.yaml"))
MAIN_JOB = ["estimate", "llama3-8b", "--hw", "rtx4090", "--json"]

# -- light ------------------------------------------------------------------------------------------

HEAVY = ("torch", "numpy", "sympy", "transformers", "pandas", "pydantic")  # pydantic's engine, pydantic_core, is light


def heavy_modules_of(code):
    """The heavy modules that a process has loaded once this code has run."""
    report = f"\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1]


def running(*arguments):
    """Code that runs the command line and stays."""
    start = f"import sys\nfrom llmcost.cli import main\nsys.argv = ['llmcost', *{arguments!r}]\n"
    return start + "try:\n    main()\nexcept SystemExit:\n    pass"


@pytest.mark.parametrize(
    "arguments",
    [
        ["estimate", "llama3-8b", "--hw", "rtx4090"],
        ["explain", "llama3-8b", "--hw", "rtx4090"],
        ["ops", "llama3-8b", "--hw", "rtx4090"],
        ["mfu", "llama3-8b", "--hw", "h100", "--tokens-per-s", "9000"],
        ["plan", "--help"],
        ["models"],
        ["hardware"],
        ["check", str(MODELS[0])],
        ["estimate", "no-such-model"],
        ["compare", "llama3-8b", "--hw", "h100,4090"],
        ["sweep", "--help"],
        ["estimate", "llama3-8b", "--hw", "h200"],
        ["bench", "--show", str(ROOT / "hardware" / "profiles" / "h200.json")],
        ["--help"],
    ],
    ids=" ".join,
)
def test_no_command_loads_a_heavy_package(arguments):
    assert heavy_modules_of(running(*arguments)) == "[]"


def test_importing_the_package_loads_no_heavy_one_and_no_command_line():
    assert (
        heavy_modules_of(
            "import llmcost\nimport sys\nassert 'typer' not in sys.modules\nassert 'rich' not in sys.modules"
        )
        == "[]"
    )


@pytest.mark.parametrize("name", ["numpy", "sympy"])
def test_a_heavy_package_would_be_noticed(name):
    """That the tests above can fail."""
    assert heavy_modules_of(f"import {name}") != "[]"
    assert repr(name) in heavy_modules_of(f"import {name}")


# -- the wheel --------------------------------------------------------------------------------------


def run(*command, **options):
    """A command that must succeed; its stdout."""
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, env=environment, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel as the checkout builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The bin folder of an empty environment with the wheel and, from the package index, what it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder)
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    run(binaries / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    return binaries


@pytest.mark.parametrize("kind", ["models", "hardware"])
def test_the_wheel_carries_every_file_of_the_checkout(wheel, kind):
    with zipfile.ZipFile(wheel) as archive:
        inside = {
            name.removeprefix(f"llmcost/shipped/{kind}/"): archive.read(name)
            for name in archive.namelist()
            if f"/{kind}/" in name
        }
    outside = {
        path.relative_to(ROOT / kind).as_posix(): path.read_bytes()
        for path in (ROOT / kind).rglob("*.*")
        if path.is_file()
    }
    assert inside == outside
    assert len(inside) > 10


def test_the_wheel_carries_types_and_licence_and_no_tests(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "llmcost/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"llmcost", "llmcost_calculator"}


def test_the_source_archive_has_all_that_builds_and_tests_it(tmp_path):
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path, ROOT)
    (built,) = tmp_path.glob("llmcost_calculator-*.tar.gz")
    with tarfile.open(built) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("llmcost", "models", "hardware", "tests", "docs")
    files = {path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*.*")}
    files = {name for name in files if "/__pycache__" not in name and (ROOT / name).is_file()}
    assert {*files, "pyproject.toml", "mkdocs.yml", "README.md", "README.zh.md", "LICENSE"} - names == set()
    assert len(files) > 500


def test_the_installed_program_brings_its_manual_page_and_its_chinese(installed, tmp_path):
    page = installed.parent / "share" / "man" / "man1" / "llmcost.1"
    assert page.read_text("utf-8") == (ROOT / "docs" / "llmcost.1").read_text("utf-8")
    assert "参数量" in run(installed / "llmcost", "estimate", "gpt2", "--lang", "zh", cwd=tmp_path)


def test_the_installed_program_gives_the_answer_of_the_checkout(installed, tmp_path, cli):
    expected = cli(*MAIN_JOB)
    assert expected.code == 0
    answer = run(installed / "llmcost", *MAIN_JOB, cwd=tmp_path)
    assert json.loads(answer) == json.loads(expected.out)
    assert json.loads(answer)["model"]["params"]["total"] == 8_030_261_248  # Meta's own count


def test_the_installed_program_knows_what_the_checkout_knows(installed, tmp_path, cli):
    for kind in ("models", "hardware"):
        assert run(installed / "llmcost", kind, "--json", cwd=tmp_path) == cli(kind, "--json").out


def test_the_installed_program_is_the_wheel_and_not_the_checkout(installed, tmp_path):
    where = Path(run(installed / "python", "-c", "import llmcost; print(llmcost.__file__)", cwd=tmp_path).strip())
    assert ROOT not in where.parents
    assert "site-packages" in where.parts


def test_the_wheel_carries_every_architecture(wheel):
    folder = "llmcost/specs/architectures"
    with zipfile.ZipFile(wheel) as archive:
        inside = {name: archive.read(name) for name in archive.namelist() if name.startswith(f"{folder}/")}
    assert inside == {f"{folder}/{path.name}": path.read_bytes() for path in (ROOT / folder).iterdir()}
    assert len(inside) > 30


def test_the_installed_program_reads_a_config(installed, tmp_path, cli):
    config = {"model_type": "granitemoe_swa", "hidden_size": 64, "num_hidden_layers": 8, "vocab_size": 160}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    assert run(installed / "llmcost", "import", path, cwd=tmp_path) == cli("import", path).out


def test_the_installed_program_sweeps(installed, tmp_path, cli):
    arguments = ("sweep", "llama3-8b", "--hw", "4090", "--batch", "1..8", "--csv")
    assert run(installed / "llmcost", *arguments, cwd=tmp_path) == cli(*arguments).out


def test_the_installed_program_needs_five_packages_and_what_those_need(installed, tmp_path):
    names = {
        each["name"].lower().replace("_", "-")
        for each in json.loads(run(installed / "python", "-m", "pip", "list", "--format=json"))
    }
    assert names >= {"llmcost-calculator", "typer", "pydantic", "pyyaml", "numpy"}
    assert names.isdisjoint({"torch", "matplotlib", "pyarrow", "sympy", "transformers", "pytest"})
    assert run(installed / "python", "-m", "pip", "check", cwd=tmp_path) == "No broken requirements found.\n"


# -- shipped specs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_shipped_model_loads_and_names_its_source_and_itself(path):
    model = load_model_file(path)
    assert model.name == path.stem
    assert load_model(path.stem) == model
    assert model.source
    assert all(load_model(alias) == model for alias in model.aliases)


@pytest.mark.parametrize("path", CHIPS, ids=lambda path: path.stem)
def test_a_shipped_gpu_loads_and_names_itself_and_the_source_of_every_figure(path):
    chip = load_hardware_file(path)
    assert chip.name == path.stem
    assert load_hardware(path.stem) == chip
    assert all(load_hardware(alias) == chip for alias in chip.aliases)
    figures = [figure for name in (*MEASURES, *COUNTS) if (figure := getattr(chip, name))]
    figures += [*chip.peak.values(), *chip.vector_peak.values()]
    assert figures
    assert {figure.source for figure in figures} <= set(chip.sources)
    assert set(chip.sources) <= {figure.source for figure in figures}, "a source that no figure names"
    assert all(source["title"] for source in chip.sources.values())


@pytest.mark.parametrize("paths", [MODELS, [*CHIPS, *SYSTEMS]], ids=["models", "hardware"])
def test_no_name_or_alias_means_two_files(paths):
    meant = Counter()
    for path in paths:
        data = read_yaml(path).data
        meant.update({plain(name) for name in (data["name"], *data.get("aliases", []))})
    assert [name for name, count in meant.items() if count > 1] == []


@pytest.mark.parametrize("kind", ["models", "hardware", "engines", "training engines"])
def test_every_alias_is_found(kind):
    """Aliases are found by the line that they stand in, without reading the rest of the file as YAML."""
    files = [shipped(folder) / f"{name}.yaml" for folder in FOLDERS[kind] for name in names(folder)]
    aliases = {alias: path for path in files for alias in read_yaml(path).data.get("aliases", ())}
    assert {alias: find(kind, alias, files=False) for alias in aliases} == aliases


# -- systems of GPUs --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names("hardware/systems"))
def test_a_system_is_its_gpu_with_a_node_and_a_network(name):
    system = load_hardware(name)
    gpu = load_hardware(system.gpu)
    assert system.name == name
    assert (system.peak, system.bandwidth, system.memory) == (gpu.peak, gpu.bandwidth, gpu.memory)
    for figure in (system.node_gpus, system.fabric):
        assert system.sources[figure.source]["url"].startswith("https://")


def test_a_system_of_an_unknown_gpu_is_refused(cli, tmp_path):
    path = tmp_path / "box.yaml"
    path.write_text(
        "name: box\ntitle: Box\ngpu: h1000\nnode_gpus: {value: 8, source: a}\n"
        "fabric: {kind: wire, value: 1 GB/s, source: a}\nsources: {a: {title: A}}\n",
        encoding="utf-8",
    )
    answer = cli("estimate", "gpt2", "--hw", path)
    assert answer.code == 2
    assert f"{path}:3: gpu: unknown hardware 'h1000'" in answer.err
