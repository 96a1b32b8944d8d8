"""Devices: what is asked for is there or refused, and every fast path says why it is on or off."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from multiprocessing.queues import SimpleQueue

import pytest
import torch

from marey import device
from marey.errors import ConfigError

CPU = torch.device("cpu")


def cpu_with(
    monkeypatch: pytest.MonkeyPatch, *, amx: bool = False, bf16: bool = False, gain: float = 4.0
) -> None:
    monkeypatch.setattr(device, "_bf16_gain", lambda: gain)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)


def test_auto_takes_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, best in (({"cuda": 2, "mps": 1}, "cuda"), ({"mps": 1}, "mps"), ({}, "cpu")):
        monkeypatch.setattr(device, "_count", lambda kind, t=there: {"cpu": 1, **t}.get(kind, 0))
        assert device.pick("auto") == torch.device(best)
        assert device.pick("cpu") == CPU


def test_refuses_devices_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no device 'tpu9000'"):
        device.pick("tpu9000")
    monkeypatch.setattr(device, "_count", lambda kind: {"cpu": 1, "cuda": 2}.get(kind, 0))
    assert device.pick("cuda:1") == torch.device("cuda:1")
    for name in ("cuda:2", "mps", "meta"):
        with pytest.raises(ConfigError, match=f"has no device '{name}'"):
            device.pick(name)


def test_bf16_where_the_hardware_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    for amx, bf16 in ((True, True), (False, True), (True, False)):
        cpu_with(monkeypatch, amx=amx, bf16=bf16)
        assert device.precision(CPU) == torch.bfloat16
    cpu_with(monkeypatch, amx=True, gain=0.9)
    assert device.precision(CPU) == torch.float32
    cpu_with(monkeypatch)
    assert device.precision(CPU) == torch.float32
    for capability, dtype in (((7, 5), torch.float32), ((8, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert device.precision(torch.device("cuda:0")) == dtype
    assert device.precision(torch.device("mps")) == torch.float32


def test_an_explicit_precision_is_obeyed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cpu_with(monkeypatch, amx=True)
    assert device.precision(CPU, "fp32") == torch.float32
    cpu_with(monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert device.precision(CPU, "bf16") == torch.bfloat16
    assert "slower than fp32" in caplog.text
    with pytest.raises(ConfigError, match="no precision 'fp16'"):
        device.precision(CPU, "fp16")  # type: ignore[arg-type]


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"openvino": "2026.4.1"}

    def version(name: str) -> str:
        if name not in there:
            raise PackageNotFoundError
        return there[name]

    monkeypatch.setattr(device, "version", version)
    assert device.can_compile() == device.can_compile(CPU) == (True, "openvino 2026.4.1")
    assert device.can_compile(torch.device("cuda")) == (False, "triton is not installed")
    assert device.can_compile(torch.device("mps"))[0] is False
    there.clear()
    assert device.can_compile() == (False, "openvino is not installed")


def test_describes_every_fast_path_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_count", lambda kind: int(kind == "cpu"))
    cpu_with(monkeypatch)
    monkeypatch.setattr(device, "can_compile", lambda _: (False, "no compiler"))
    facts = device.describe()
    assert facts["device"] == "cpu"
    assert facts["bf16"].startswith("off: ")
    assert facts["compiling"] == "off: no compiler"
    cpu_with(monkeypatch, amx=True)
    if torch.backends.mkldnn.is_available():
        found = device.describe()["bf16"]
        assert found == "on: the CPU has AMX, and a convolution takes 0.25 of float32's time"


def test_bf16_is_tried_out_and_the_threads_stay_as_they_were() -> None:
    threads = torch.get_num_threads()
    assert device._bf16_gain() > 0
    assert torch.get_num_threads() == threads


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def seen(part: int) -> tuple[int, int, str]:
    time.sleep(0.02 if part == 0 else 0.0)  # the first is not done first
    return part, torch.get_num_threads(), threading.current_thread().name


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(("parts", "each"), [(0, 4), (1, 4), (2, 2), (3, 1), (9, 1)])
def test_side_by_side_shares_the_threads_and_keeps_the_order(parts: int, each: int) -> None:
    done = device.side_by_side(seen, range(parts))
    assert [part for part, _, _ in done] == list(range(parts))
    assert {threads for _, threads, _ in done} <= {each}
    here = threading.current_thread().name
    assert {name == here for _, _, name in done} <= {parts == 1}
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_side_by_side_ends_with_the_error_of_a_part() -> None:
    def work(part: int) -> None:
        raise ConfigError(f"part {part}")

    with pytest.raises(ConfigError, match="part 0"):
        device.side_by_side(work, range(3))
    assert torch.get_num_threads() == 4
    assert len(device.side_by_side(seen, range(3))) == 3  # and goes on


def answer(into: SimpleQueue[int]) -> None:
    into.put(len(device.side_by_side(seen, range(3))))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.usefixtures("four_threads")
def test_side_by_side_works_in_a_fork_too() -> None:
    device.side_by_side(seen, range(3))  # threads that the child has not
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    child = fork.Process(target=answer, args=(answers,))
    child.start()
    child.join(20)
    stuck = child.is_alive()
    child.kill()
    assert not stuck
    assert answers.get() == 3
