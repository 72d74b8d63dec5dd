"""Where figures come from: what stands below charts and in reports."""

from __future__ import annotations

from collections.abc import Sequence

from llmcost.model.spec import ModelSpec
from llmcost.specs.hardware import HardwareSpec


def sources_of(model: ModelSpec, hardware: HardwareSpec | None) -> list[tuple[str, str, str]]:
    """What a figure is of, its source's title and its address: the model, and what times and memory of a GPU rest on.

    An address may be missing or a file of the user's own.
    """
    found = [(model.title, "its configuration", model.source)]
    if hardware is None:
        return found
    figures = (hardware.memory, hardware.usable_memory, hardware.bandwidth, *hardware.peak.values())
    links = (hardware.interconnect, hardware.fabric)
    for name in dict.fromkeys(figure.source for figure in (*figures, *links) if figure is not None):
        source = hardware.sources[name]
        found.append((hardware.title, source["title"], source.get("url", "")))
    return found


def caption(model: ModelSpec, hardware: HardwareSpec, basis: str, error: str = "") -> list[str]:
    """The lines below a chart: the model's source, the first of the GPU's, and what the times rest on."""
    (_, _, of_model), (_, title, address), *others = sources_of(model, hardware)
    more = f", and {len(others)} more" if others else ""
    off = f"; off by {error}" if error else ""
    return [f"Model: {of_model}", f"GPU: {f'{title} {address}'.strip()}{more}", f"Expected by {basis}{off}"]


def caption_of_several(models: Sequence[ModelSpec], chips: Sequence[HardwareSpec], bases: Sequence[str]) -> list[str]:
    """The lines below a chart of several models or GPUs."""
    of_gpus = [chip.sources[chip.memory.source]["title"] for chip in chips]
    of_models, of_gpus = [model.source for model in models], list(dict.fromkeys(of_gpus))
    lines = [
        f"Model{'s' * (len(of_models) > 1)}: {', '.join(of_models)}",
        f"GPU{'s' * (len(chips) > 1)}: {'; '.join(of_gpus)}",
    ]
    return [*lines, f"Expected by {'; '.join(bases)}"] if bases else lines
