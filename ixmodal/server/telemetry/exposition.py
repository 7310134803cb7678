"""The metrics in Prometheus' text format, by prometheus_client, which is imported at the first look."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ixmodal.runtime import ServedModel
from ixmodal.runtime.served_model import ModelState
from ixmodal.server.telemetry import names
from ixmodal.server.telemetry.metrics import Metrics

_OF_MODEL = ("model",)


class Exposition:
    """All metrics of an application, in a registry of its own: a process may have several applications."""

    def __init__(self, metrics: Metrics) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(metrics))

    def text(self) -> bytes:
        """The exposition, Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)


class _Collector(Collector):
    """Makes metrics of what was counted and of how the models stand."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._models = metrics.runtime.models

    def collect(self) -> Iterator[Metric]:
        """All metrics, ours, vLLM's and llama.cpp's."""
        own = {metric_name(family): family for family in self._own()}
        yield from own.values()
        for name, ours in names.VLLM.items():
            yield renamed(own[ours], name, label="model_name")
        yield self._successes()
        for name, ours in names.LLAMA_CPP.items():
            yield renamed(own[ours], name)
        yield from self._speeds()

    def _own(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            names.REQUESTS, names.COUNTERS[names.REQUESTS], labels=("model", "endpoint", "outcome")
        )
        for labels, count in self._metrics.requests.items():
            requests.add_metric(labels, count)
        yield requests
        limited = CounterMetricFamily(names.RATE_LIMITED, names.OF_CALLERS[names.RATE_LIMITED], labels=("limit",))
        for limit, count in self._metrics.rate_limited.items():
            limited.add_metric((limit,), count)
        yield limited
        yield self._states()
        yield from self._of_models()
        yield from self._histograms()

    def _of_models(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, text in names.COUNTERS.items():
            if name != names.REQUESTS:
                families[name] = CounterMetricFamily(name, text, labels=_OF_MODEL)
        for name, text in names.GAUGES.items():
            if name != names.MODEL_STATE:
                families[name] = GaugeMetricFamily(name, text, labels=_OF_MODEL)
        for id, served in self._models.items():
            for name, value in standing(served).items():
                families[name].add_metric((id,), value)
        for name, counts in ((names.CANCELS, self._metrics.cancels), (names.OVERFLOWS, self._metrics.overflows)):
            for id in [*self._models, *(other for other in counts if other not in self._models)]:
                families[name].add_metric((id,), counts[id])
        yield from families.values()

    def _states(self) -> Metric:
        text = names.GAUGES[names.MODEL_STATE]
        family = GaugeMetricFamily(names.MODEL_STATE, text, labels=("model", "state"))
        for id, served in self._models.items():
            for state in ModelState:
                family.add_metric((id, state), float(served.state == state))
        return family

    def _histograms(self) -> Iterator[Metric]:
        for name, text in names.HISTOGRAMS.items():
            family = HistogramMetricFamily(name, text, labels=_OF_MODEL)
            histogram = self._metrics.histograms[name]
            for id in [*self._models, *(other for other in histogram.models if other not in self._models)]:
                family.add_metric((id,), histogram.buckets(id), histogram.sum(id))
            yield family

    def _successes(self) -> Metric:
        family = CounterMetricFamily(
            names.VLLM_SUCCESS, "Requests that were answered.", labels=("model_name", "finished_reason")
        )
        for labels, count in self._metrics.answered().items():
            family.add_metric(labels, count)
        return family

    def _speeds(self) -> Iterator[Metric]:
        reading, writing = (
            GaugeMetricFamily(name, "Tokens a second, the mean since the start.", labels=_OF_MODEL)
            for name in names.LLAMA_CPP_SPEEDS
        )
        for id, served in self._models.items():
            if served.client is None:
                continue
            read = served.client.prompt_tokens - served.client.cached_tokens
            for family, tokens, seconds in (
                (reading, read, self._metrics.reading[id]),
                (writing, served.client.tokens, self._metrics.writing[id]),
            ):
                family.add_metric((id,), tokens / seconds if seconds else 0.0)
        yield from (reading, writing)


def metric_name(family: Metric) -> str:
    """The name by which a metric is asked for."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def renamed(family: Metric, name: str, label: str = "model") -> Metric:
    """The same metric under another name, its label `model` called otherwise."""
    base, old = name.removesuffix("_total"), family.name
    other = Metric(base, family.documentation, family.type)
    for sample in family.samples:
        labels = {label if key == "model" else key: value for key, value in sample.labels.items()}
        other.add_sample(base + sample.name.removeprefix(old), labels, sample.value)
    return other


def standing(served: ServedModel) -> dict[str, float]:
    """How a model stands, and what its engine or upstream counts."""
    asked = served.upstream or served.client
    assert asked
    values: dict[str, float] = {
        names.RUNNING: asked.admission.busy,
        names.WAITING: asked.admission.queued,
        names.PROMPT_TOKENS: asked.prompt_tokens,
        names.CACHED_TOKENS: asked.cached_tokens,
        names.GENERATED_TOKENS: asked.tokens,
    }
    if served.upstream:
        return values | {names.UPSTREAM_REQUESTS: served.upstream.requests}
    client = served.client
    assert client
    context = client.model.context_length * client.slots if client.model else 0
    held = sum(found.tokens_held for found in client.places if found)
    return values | {
        names.SLOTS: client.slots,
        names.SLOTS_BUSY: client.admission.busy,
        names.KV_CACHE_USAGE: held / context if context else 0.0,
        names.ENGINE_RESTARTS: client.restarts,
    }
