"""Configs by hub id: from the hub's cache on this machine, else fetched, if `huggingface_hub` is installed."""

from __future__ import annotations

import os
import re
from os.path import expanduser
from pathlib import Path

from llmcost.ground.errors import InputError

SECONDS = 2.0  # to wait for the hub's answer; with the start of the program 3
OFFLINE = ("LocalEntryNotFoundError", "OfflineModeIsEnabled")  # what its client raises without a network
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def find_config(hub_id: str) -> Path | None:
    """The config.json of `organisation/model`, the newest that is cached; None where there is none to be had.

    Raises InputError where it is to be fetched and the network fails.
    """
    if not HUB_ID.fullmatch(hub_id):
        return None
    return _cached(hub_id) or _fetched(hub_id)


def _cached(hub_id: str) -> Path | None:
    snapshots = _cache() / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    try:
        found = sorted(snapshots.glob("*/config.json"), key=lambda path: path.stat().st_mtime)
    except OSError:
        return None
    return found[-1] if found else None


def _cache() -> Path:
    """The folder in which hub clients keep what they fetched, by the variables that they heed."""
    if own := os.environ.get("HF_HUB_CACHE"):
        return Path(own)
    cache = os.environ.get("XDG_CACHE_HOME") or expanduser("~/.cache")  # noqa: PTH111 - Path's raises without a home
    home = os.environ.get("HF_HOME") or Path(cache) / "huggingface"
    return Path(home) / "hub"


def _fetched(hub_id: str) -> Path | None:
    """The config as the hub has it; None where the hub has none that may be read, or its client is not installed.

    Raises InputError where the hub does not answer: its client tries for half a minute, which is not waited for.
    """
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        return None
    import logging
    from threading import Thread

    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # it tells of every attempt
    found: list[Path | Exception] = []

    def fetch() -> None:
        try:
            found.append(Path(hf_hub_download(hub_id, "config.json")))
        except Exception as error:  # noqa: BLE001 - offline, gated, renamed or gone
            found.append(error)

    trial = Thread(target=fetch, daemon=True)
    trial.start()
    trial.join(SECONDS)
    if not found or type(found[0]).__name__ in OFFLINE:
        raise InputError(f"{hub_id}: not in the hub's cache, and the network failed: the hub did not answer")
    return None if isinstance(found[0], Exception) else found[0]
