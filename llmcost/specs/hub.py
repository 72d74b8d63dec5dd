"""Configs by hub id: from the hub's cache on this machine, else fetched, if `huggingface_hub` is installed."""

from __future__ import annotations

import os
import re
from pathlib import Path

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def find_config(hub_id: str) -> Path | None:
    """The config.json of `organisation/model`, the newest that is cached; None where there is none to be had."""
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
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache)
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(home) / "hub"


def _fetched(hub_id: str) -> Path | None:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        return None
    try:
        return Path(hf_hub_download(hub_id, "config.json"))
    except Exception:  # noqa: BLE001 - offline, gated, renamed or gone: each means that there is no config to read
        return None
