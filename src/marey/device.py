"""What this machine computes with, and which fast paths it has."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

import torch

from marey import memory
from marey.config import Precision
from marey.errors import ConfigError

_log = logging.getLogger(__name__)

Part = TypeVar("Part")
Result = TypeVar("Result")


def pick(name: str = "auto") -> torch.device:
    """The device of that name; `auto` is the first there is of cuda, mps and cpu.

    Whoever picks one is about to compute: from here on the process keeps what memory it frees.
    Raises ConfigError for a name that PyTorch does not know, and for a device that is not here.
    """
    memory.keep()
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if _count(kind))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"There is no device {name!r}; say auto, cpu, cuda, cuda:1 or mps."
        ) from (error)
    if (device.index or 0) >= _count(device.type):
        raise ConfigError(f"This machine or this PyTorch has no device {name!r}; say auto or cpu.")
    return device


def _count(kind: str) -> int:
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return int(kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available()))


def precision(device: torch.device, wanted: Precision = "auto") -> torch.dtype:
    """The type to multiply in: bfloat16 where the hardware has it and it pays, else float32.

    An explicit `bf16` is obeyed everywhere, so that a result can be repeated on another machine;
    where it is emulated it is slower than float32, and that is logged.
    Raises ConfigError for other names.
    """
    if wanted not in ("auto", "fp32", "bf16"):
        raise ConfigError(f"There is no precision {wanted!r}; say auto, fp32 or bf16.")
    native, why = _native_bf16(device)
    if wanted == "bf16" and not native:
        _log.warning("bf16 is slower than fp32 here: %s", why)
    return torch.bfloat16 if wanted == "bf16" or (wanted == "auto" and native) else torch.float32


def _native_bf16(device: torch.device) -> tuple[bool, str]:
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return major >= 8, f"the GPU has compute capability {major}.{minor}, native from 8.0 on"
    if device.type != "cpu":
        return False, f"not used on {device.type}"
    if not torch.backends.mkldnn.is_available():
        return False, "this PyTorch was built without oneDNN"
    if torch.cpu._is_amx_tile_supported():
        has = "AMX"
    elif torch.cpu._is_avx512_bf16_supported():
        has = "AVX512-BF16"
    else:
        return False, "the CPU has neither AMX nor AVX512-BF16"
    gain = _bf16_gain()
    return gain > 1, f"the CPU has {has}, and a convolution takes {1 / gain:.2f} of float32's time"


@cache
def _bf16_gain() -> float:
    """How many times as fast as in float32 the CPU convolves in bfloat16, tried out once.

    On one thread, the least of some turns: so others that use the machine hardly matter.
    """

    def trial(dtype: torch.dtype) -> Callable[[], float]:
        form = torch.channels_last
        x = torch.ones(4, 64, 28, 28, dtype=dtype).to(memory_format=form)
        weights = torch.ones(64, 64, 3, 3, dtype=dtype).to(memory_format=form)

        def seconds() -> float:
            start = time.perf_counter()
            torch.conv2d(x, weights)
            return time.perf_counter() - start

        return seconds

    def compare() -> float:
        with torch.inference_mode():
            turns = [(single(), half()) for _ in range(10)]
        return min(one for one, _ in turns) / min(other for _, other in turns)

    single, half = trial(torch.float32), trial(torch.bfloat16)
    threads = torch.get_num_threads()
    try:  # what a thread sets holds for itself and for threads begun later
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return pool.submit(compare).result()
    finally:
        torch.set_num_threads(threads)


@contextmanager
def one_thread() -> Iterator[None]:
    """What PyTorch computes here, it computes on one thread: how many there are decides the order
    of sums, and by that the last digits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def side_by_side(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """[work(part) for part in parts], on as many threads as PyTorch has, which share them.

    So no thread waits for another but at the end: on all threads at once every operation waits for
    the slowest of them, who may share a core with a decoder. What holds for the caller's thread
    alone, such as `torch.no_grad`, does not hold in `work`.
    """
    threads = torch.get_num_threads()
    count = min(threads, len(parts))
    if count <= 1:
        return [work(part) for part in parts]

    def done(part: Part) -> Result:
        torch.set_num_threads(threads // count)
        return work(part)

    try:  # what a thread sets holds for itself and for threads begun later
        return list(_pool(threads).map(done, parts))
    finally:
        torch.set_num_threads(threads)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: a new one has to prepare every convolution anew."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not come along


def can_compile(device: torch.device | None = None) -> tuple[bool, str]:
    """Whether networks can be compiled for a device (the CPU where none is named), and by what."""
    kind = "cpu" if device is None else device.type
    compilers = {"cpu": "openvino", "cuda": "triton"}
    if kind not in compilers:
        return False, f"not used on {kind}"
    try:
        return True, f"{compilers[kind]} {version(compilers[kind])}"
    except PackageNotFoundError:
        return False, f"{compilers[kind]} is not installed"


def describe() -> dict[str, str]:
    """Facts for `marey doctor`: devices, threads, and which fast paths are on and why."""
    device = pick()
    facts = {
        "device": str(device),
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} cores",
        "CPU instructions": torch.backends.cpu.get_cpu_capability(),
    }
    for i in range(_count("cuda")):
        facts[f"cuda:{i}"] = torch.cuda.get_device_name(i)
    native, why = _native_bf16(device)
    facts["bf16"] = f"{'on' if native else 'off'}: {why}"
    can, why = can_compile(device)
    facts["freed memory"] = "kept" if memory.keep() else "returned: not Linux with glibc"
    facts["compiling"] = f"{'on, for long runs' if can else 'off'}: {why}"
    return facts
