"""How a declared model becomes what an engine process is told to load."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

from ixmodal.backends.cpu import available_cores, default_threads, has_bfloat16
from ixmodal.daemon_thread import in_daemon_thread
from ixmodal.engine.messages import Load
from ixmodal.models.engines import judge
from ixmodal.models.inspect import ModelFile
from ixmodal.models.memory import Need, need_of
from ixmodal.runtime.memory import MIB, free_host_memory
from ixmodal.spec import App, Model
from ixmodal.spec.state import state_home
from ixmodal.weights import fetch, weights_directory
from ixmodal.weights.readahead import ReadAhead

logger = logging.getLogger("ixmodal")
_ALL_LAYERS = 1000
_SHORT_CONTEXT = 256
"""Tokens up to which llama.cpp's flash attention on bfloat16 decodes faster on a CPU than plain matrices, which it
computes in multiples of as many (`bench/attention.py`)."""
_read_ahead = ReadAhead()
Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there, and the bytes in all (None: unknown)."""
FindLoad = Callable[[Model, App, Progress], Awaitable[Load]]
"""How a model's weights are had: (model, spec, download progress) -> what to load."""


async def find_load(model: Model, spec: App, progress: Progress) -> Load:
    """Find or fetch a model's weights, and judge which engine loads them. Raises `WeightsError`."""
    directory = weights_directory(spec)
    fetch_it = partial(fetch, model, directory, progress, timeout=spec.limits.download_timeout)
    path = await in_daemon_thread(fetch_it, f"fetch {model.id}")
    begin_reading(model, path)
    return await in_daemon_thread(partial(_load_message, model, path, spec), f"judge {model.id}")


def begin_reading(model: Model, path: Path) -> None:
    """Have the system read the file that an engine is about to map, if it fits into memory."""
    if model.mmap:
        _read_ahead.begin(path, free_host_memory())


def layers_of(model: Model) -> int:
    """Layers to offload; `all` is a number that no model reaches."""
    return _ALL_LAYERS if model.gpu_layers == "all" else model.gpu_layers


def threads_of(model: Model, spec: App, weights_bytes: int) -> int:
    """Threads as declared, or those of the cores that are free for this model beside the server and other models."""
    on_cpu = [other for other in spec.local_models if other.gpu_layers != "all"]
    # Those that are loaded on request come and go; one of them may work beside those that stay.
    sharers = sum(other.load == "start" for other in on_cpu) + any(other.load == "request" for other in on_cpu)
    return model.threads or default_threads(weights_bytes, reserved=spec.cpu, sharers=max(1, sharers))


def cache_type_of(model: Model, engine: str) -> str:
    """The type of keys and values: as declared, or what is fastest."""
    is_short = model.context_length is not None and model.context_length <= _SHORT_CONTEXT
    may_flash = engine == "llama_cpp" and model.flash_attention is None and not model.gpu_layers
    return model.cache_type or ("bf16" if is_short and may_flash and has_bfloat16() else "f16")


def too_many_threads(model: Model, cores: float) -> str | None:
    """What is wrong where more threads are declared than there are cores for them; None if nothing is."""
    if model.threads is None or model.threads <= cores:
        return None
    return (
        f"the model {model.id} has threads = {model.threads}, but there are {cores:g} cores for it: threads that wait "
        f"spin, and take the time of those that work; leave it out, or write {max(1, int(cores) - 1)}"
    )


def declared_need(model: Model, found: ModelFile) -> Need:
    """What the file takes in memory, served as declared."""
    return need_of(
        found,
        slots=model.slots,
        context_length=model.context_length,
        batch_size=model.batch_size,
        gpu_layers=layers_of(model),
        mmap=model.mmap,
        cache_type=cache_type_of(model, found.engine),
        memory_cache=None if model.memory_cache_mib is None else model.memory_cache_mib * MIB,
    )


def _load_message(model: Model, path: Path, spec: App) -> Load:
    found = judge(path, model.engine)
    if warning := too_many_threads(model, available_cores()):
        logger.warning("%s", warning)
    need = declared_need(model, found)
    directory = state_home() / spec.name / "prefixes" / quote(model.id, safe="")
    return Load(
        backend=found.engine,
        path=str(path),
        slots=model.slots,
        batch_size=model.batch_size,
        threads=threads_of(model, spec, path.stat().st_size),
        context_length=model.context_length,
        gpu_layers=layers_of(model),
        mmap=model.mmap,
        mlock=model.mlock,
        flash_attention=model.flash_attention,
        cache_type=cache_type_of(model, found.engine),
        draft_tokens=model.draft_tokens if model.speculation == "prompt_lookup" else 0,
        chat_template=model.chat_template,
        template_timeout=spec.limits.template_timeout,
        warm_up=model.warm_up,
        memory_cache_bytes=need.saved,
        disk_cache_bytes=model.disk_cache_mib * MIB,
        disk_cache_directory=str(directory) if model.disk_cache_mib else None,
    )
