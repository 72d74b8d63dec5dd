"""What tests of bench on the CPU share: a bench, and the profile of a whole quick run."""

import pytest
import torch

from llmcost.bench.cases import Bench
from llmcost.bench.device import Sensors, find_device
from llmcost.bench.timers import Clock
from llmcost.specs.profile import load_profile


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads of a busy machine wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def bench():
    device = find_device("cpu")
    return Bench(device, Clock(device, Sensors(device), 1e-3, 1e-3))


@pytest.fixture(scope="session")
def quick(tmp_path_factory, cli):
    """The profile of a whole quick run on the CPU, and what it printed."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("bench") / "cpu.json"
    answer = cli("bench", "--device", "cpu", "-o", path)
    assert answer.code == 0, answer.err
    return load_profile(path), path, answer
