"""Each target's view: this machine, a container (compose, Kubernetes), Modal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ixmodal.backends.cpu import available_cores
from ixmodal.deploy.checks.findings import Finding, TargetReport, errors
from ixmodal.deploy.checks.weights import ModelReport
from ixmodal.deploy.kubernetes.objects import check_names
from ixmodal.deploy.monitoring import needs_scrape_key
from ixmodal.deploy.target import check_places, gpu_count, missing_engines, secrets
from ixmodal.errors import SpecError
from ixmodal.runtime.engines import too_many_threads
from ixmodal.runtime.memory import free_host_memory, gpus
from ixmodal.server.keyring import KeyRing
from ixmodal.server.store import ONLY_ON_MODAL
from ixmodal.spec import App
from ixmodal.spec.keys import SECRET_PREFIX
from ixmodal.upstreams.client import resolve_key

SERVER_BYTES = 300 * 1024**2
"""What the server's process and the interpreters of the engines take beside the models, roughly."""
GPU_BYTES = 512 * 1024**2
"""What the CUDA driver and library take for themselves."""
CARDS = {
    "T4": 16,
    "L4": 24,
    "A10": 24,
    "A10G": 24,
    "L40S": 48,
    "A100": 40,
    "A100-40GB": 40,
    "A100-80GB": 80,
    "RTX-PRO-6000": 96,
    "H100": 80,
    "H100!": 80,
    "H200": 141,
    "B200": 180,
    "B200+": 180,
}
"""Memory of Modal's GPU types in GB (10^9 bytes); see https://modal.com/docs/guide/gpu."""
REGIONS = ("us", "eu", "uk", "ap", "ca", "jp", "me", "sa", "af", "mx", "au", "in", "asia", "europe")
"""How the names of Modal's regions begin; see https://modal.com/docs/guide/region-selection."""


def this_machine(spec: App, models: Sequence[ModelReport], environ: Mapping[str, str]) -> TargetReport:
    """`ixmodal serve` here."""
    is_offloaded = any(model.gpu_layers for model in spec.local_models)
    cards = gpus() if is_offloaded else []
    needed = _sum(models, gpu=bool(cards))
    report = TargetReport(
        "this machine",
        not is_for_platforms(spec),
        [f"{available_cores()} cores", *_threads(models), *_downloads(spec)],
        f"GPU memory of {cards[0].name}" if cards else "memory",
        needed,
        cards[0].total if cards else free_host_memory(),
    )
    if is_offloaded and not cards:
        report.findings += errors(["gpu_layers: no NVIDIA GPU is found here; leave it out, or set it to 0"])
    report.findings += [*_fits(report), *errors(_missing_keys(spec, environ)), *_spinning(spec, available_cores())]
    if spec.state.redis_url and _redis_is_missing():
        report.findings += errors(["state.url: Redis needs the extra: pip install 'ixmodal[redis]'"])
    if spec.state.dict_name and spec.state.path is None:
        report.findings += errors([f"state.url: {ONLY_ON_MODAL}"])
    return report


def container(spec: App, models: Sequence[ModelReport]) -> TargetReport:
    """A container by compose or on Kubernetes."""
    limit = spec.memory_mib * 1024**2 if spec.memory_mib else None
    report = TargetReport(
        "container",
        is_for_platforms(spec),
        [f"{spec.image.accelerator} image", *_gpu(spec), *_storage(spec), *_downloads(spec)],
        "memory_mib",
        _sum(models, gpu=False),
        limit,
    )
    for look in (secrets, check_places, check_names, gpu_count):
        try:
            look(spec)
        except SpecError as error:
            report.findings += errors(error.problems)
    report.findings += [*_judged_engines(spec, models), *_spinning(spec, spec.cpu)]
    if needs_scrape_key(spec):
        text = (
            "endpoint.public_metrics: a scrape without a key is refused, and without metrics nothing scales; give the "
            "cluster's Prometheus a key (compose: IXMODAL_SCRAPE_KEY), or write true where only your network gets there"
        )
        report.findings.append(Finding("warning", text))
    report.findings += [*_fits(report), *_gpu_findings(spec)]
    return report


def modal(spec: App, models: Sequence[ModelReport]) -> TargetReport:
    """Replicas on Modal."""
    # The client takes half a second to import; this is the one target that needs it.
    from ixmodal.deploy.modal.checks import problems
    from ixmodal.deploy.modal.secrets import replica_secrets

    kind = spec.gpu[0].partition(":")[0].upper() if spec.gpu else None
    card = _card_bytes(spec.gpu[0]) if spec.gpu else None
    scaling = spec.scaling
    report = TargetReport(
        "Modal",
        is_for_platforms(spec),
        [
            f"{scaling.min_replicas} to {scaling.max_replicas} replicas",
            *_gpu(spec),
            f"{spec.target_concurrency} requests each, {spec.max_concurrency} at most",
            *_storage(spec),
            *_downloads(spec),
        ],
        f"GPU memory of {kind}" if kind else "memory_mib",
        _sum(models, gpu=bool(kind)),
        card if kind else (spec.memory_mib or 0) * 1024**2 or None,
    )
    report.findings += errors(problems(spec))
    try:
        replica_secrets(spec)
    except SpecError as error:
        report.findings += errors(error.problems)
    report.findings += [
        *_judged_engines(spec, models),
        *_fits(report),
        *_gpu_findings(spec),
        *_spinning(spec, spec.cpu),
    ]
    report.findings += [*_modal_names(spec), *_costs(spec), *_lost_caches(spec)]
    return report


def is_for_platforms(spec: App) -> bool:
    """Whether a spec is meant for replicas elsewhere: it names what only a platform has."""
    secrets = any(source.startswith(SECRET_PREFIX) for source in spec.endpoint.key_sources)
    return bool(spec.gpu or spec.weights or spec.region or secrets)


def _judged_engines(spec: App, models: Sequence[ModelReport]) -> list[Finding]:
    """What the files say of their engines, beyond what the spec says and `missing_engines` finds by itself."""
    judged = [model.id for model in models if model.engine == "llama_cpp"]
    declared = missing_engines(spec)
    return errors(problem for problem in missing_engines(spec, judged) if problem not in declared)


def _spinning(spec: App, cores: float | None) -> list[Finding]:
    """Models with more threads than the place has cores; nothing where nobody says how many it has."""
    found = [too_many_threads(model, cores) for model in spec.local_models] if cores else []
    return [Finding("warning", text) for text in found if text]


def _sum(models: Sequence[ModelReport], *, gpu: bool) -> int | None:
    needs = [model.need for model in models if model.state != "upstream"]
    known = [need for need in needs if need]
    if len(known) < len(needs):
        return None
    return sum(n.gpu for n in known) + GPU_BYTES if gpu else sum(n.host for n in known) + SERVER_BYTES


def _fits(report: TargetReport) -> list[Finding]:
    if report.needed is None or report.available is None or report.needed <= report.available:
        return []
    text = (
        f"{report.memory}: {_gib(report.needed)} are needed, {_gib(report.available)} are there; take fewer slots, "
        "a shorter context_length, a smaller quantization or more memory"
    )
    # What a replica reserves on Modal it may exceed; everywhere else this is a wall.
    return [Finding("warning" if report.name == "Modal" and "memory_mib" in report.memory else "error", text)]


def _gib(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB"


def _threads(models: Sequence[ModelReport]) -> list[str]:
    return [f"{model.id}: {model.slots} slots, {model.threads} threads" for model in models if model.threads]


def _downloads(spec: App) -> list[str]:
    count = sum(model.source.startswith(("hf://", "https://")) for model in spec.local_models)
    return [f"{count} to download"] if count else []


def _gpu(spec: App) -> list[str]:
    return [" or ".join(spec.gpu)] if spec.gpu else ["no GPU"]


def _storage(spec: App) -> list[str]:
    return [f"weights on {spec.weights.name} at {spec.weights.mount}"] if spec.weights else []


def _missing_keys(spec: App, environ: Mapping[str, str]) -> list[str]:
    endpoint, found = spec.endpoint, []
    alone: list[dict[str, object]] = [{"api_keys": (source,), "keys": ()} for source in endpoint.api_keys]
    alone += [{"api_keys": (), "keys": (key,)} for key in endpoint.keys]
    for one in alone:
        try:
            KeyRing(spec.model_copy(update={"endpoint": endpoint.model_copy(update=one)}), environ)
        except SpecError as error:
            found += error.problems
    for model in spec.models:
        try:
            resolve_key(model, environ)
        except SpecError as error:
            found += [f"the model {model.id}: {problem}" for problem in error.problems]
    return list(dict.fromkeys(found))


def _redis_is_missing() -> bool:
    from importlib.util import find_spec

    return find_spec("redis") is None


def _card_bytes(gpu: str) -> int | None:
    kind, _, count = gpu.partition(":")
    size = CARDS.get(kind.upper())
    return size * 10**9 * (int(count) if count.isdecimal() else 1) if size else None


def _gpu_findings(spec: App) -> list[Finding]:
    is_offloaded = any(model.gpu_layers for model in spec.local_models)
    if spec.gpu and not is_offloaded:
        return [Finding("warning", "gpu: no model has gpu_layers, so the GPU is paid for and idle; set gpu_layers")]
    if is_offloaded and not spec.gpu:
        return errors(['models: gpu_layers is set, but the spec names no gpu; set gpu = ["L4"], or leave it out'])
    if is_offloaded and spec.image.accelerator == "cuda" and spec.image.build == "wheel" and not spec.weights:
        text = "weights: without a volume every start compiles the GPU's kernels anew, for minutes; declare one"
        return [Finding("warning", text)]
    return []


def _modal_names(spec: App) -> list[Finding]:
    found = []
    for gpu in spec.gpu:
        kind, colon, count = gpu.partition(":")
        if kind.upper() not in CARDS and kind.lower() != "any":
            text = f"gpu: {gpu} is not among the types known here ({', '.join(CARDS)}); check its name"
            found.append(Finding("warning", text))
        if colon and not (count.isdecimal() and 1 <= int(count) <= 8):
            found.append(Finding("error", f"gpu: {gpu} asks for no number of GPUs; write {kind}:2, say, 8 at most"))
    for region in spec.region:
        if region.partition("-")[0] not in REGIONS:
            text = f"region: {region} begins like none of Modal's ({', '.join(REGIONS)}); check its name"
            found.append(Finding("warning", text))
    return found


def _lost_caches(spec: App) -> list[Finding]:
    text = "disk_cache_mib: a replica's disk ends with it, so what it saves there serves the same replica alone"
    return [Finding("warning", text)] if any(model.disk_cache_mib for model in spec.local_models) else []


def _costs(spec: App) -> list[Finding]:
    found = []
    if spec.scaling.min_replicas:
        text = f"scaling.min_replicas: {spec.scaling.min_replicas} replicas are paid for around the clock"
        found.append(Finding("warning", text))
    if spec.region:
        found.append(Finding("warning", "region: Modal charges more where a region is named; leave it out if you can"))
    downloads = _downloads(spec)
    if downloads and not spec.weights:
        text = "weights: without a volume every replica downloads its models anew; declare a Volume"
        found.append(Finding("warning", text))
    return found
