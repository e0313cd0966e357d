"""The cache of native code: what is in use stays, what nobody used for long goes when something else is compiled."""

import os
import time
from pathlib import Path

import pytest

from producers import compiled


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETFLIGHT_CACHE", str(tmp_path))
    return tmp_path / "kernel"


def made(folder: Path, age: float) -> Path:
    folder.mkdir(parents=True)
    (folder / "code.nbc").write_bytes(b"x")
    os.utime(folder, (time.time() - age,) * 2)
    return folder


def used(cache: Path, source: str) -> Path:
    """The folder for the code of a source."""
    folder = cache.parent / "sources"
    folder.mkdir(exist_ok=True)
    (folder / "source.py").write_text(source, encoding="utf-8")
    compiled.cache_folder.cache_clear()
    return Path(compiled.cache_folder(folder))


def test_what_nobody_used_for_long_goes_when_a_folder_is_made(cache: Path) -> None:
    old = made(cache / "old", compiled.UNUSED_SECONDS + 60)
    recent = made(cache / "recent", compiled.UNUSED_SECONDS - 60)
    folder = used(cache, "first")
    assert folder.is_dir()
    assert recent.is_dir()
    assert not old.exists()


def test_what_is_used_stays(cache: Path) -> None:
    folder = used(cache, "first")
    os.utime(folder, (0, 0))
    assert used(cache, "first") == folder
    other = used(cache, "second")
    assert other != folder
    assert folder.is_dir()


@pytest.mark.usefixtures("cache")
def test_nothing_is_cached_on_a_new_machine() -> None:
    compiled.cache_folder.cache_clear()
    assert not compiled.is_cached()
    compiled.cache_folder.cache_clear()
