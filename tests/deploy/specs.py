"""Specs that differ in what matters to containers."""

from __future__ import annotations

from ixmodal import AgentSpec, App, Endpoint, Image, Limits, Model, Scaling, Upstream, Volume

HUB = Model("tiny", source="hf://owner/repo", file="tiny.gguf", revision="main", slots=3, gpu_layers="all")
SECOND = Model("second", source="https://weights.example/second.gguf", slots=1)
SHIPPED = App(name="shipped")
CUDA = App(
    name="fast",
    image=Image.cuda(
        python="3.12",
        base="debian:trixie-slim",
        system_packages=("libgomp1",),
        packages=("sentencepiece==0.2.1",),
        env={"OMP_NUM_THREADS": "4", "QUOTED": 'a "b" $HOME \\ c'},
    ),
    gpu=("H100!:2", "A100-80GB", "L40S"),
    cpu=3.5,
    memory_mib=6144,
    region=("eu-west", "us-east"),
    weights=Volume("fast-weights", mount="/mnt/weights"),
    models=(HUB, SECOND),
    endpoint=Endpoint(api_keys=("secret:fast-keys", "env:OPS_KEYS"), max_queued=10, label="fast-api"),
    scaling=Scaling(min_replicas=2, max_replicas=7, buffer_replicas=2, scaledown_window=90, target_concurrency=4),
    limits=Limits(queue_timeout=30.5, request_timeout=900, load_timeout=100, download_timeout=1000, drain_timeout=20.5),
)
NO_VOLUME = App(
    name="light",
    models=(HUB.model_copy(update={"gpu_layers": 0, "mlock": True}),),
    limits=Limits(load_timeout=100, download_timeout=1000),
)
ONE_REPLICA = App(name="single", weights=Volume("single-weights"), models=(SECOND,))
PLACED_BY_HAND = App(name="byhand", weights=Volume("byhand"), models=(Model("own", source="file:///weights/own.gguf"),))
AGENT = App(name="agent", agents=(AgentSpec("clerk", model="demo", tools=("desk.drawer:open", "desk.lamp:light")),))
FORWARDED = App(
    name="forwarded",
    models=(Model("far", upstream=Upstream(url="https://models.example/v1", key="secret:far-key:FAR_KEY")),),
)
ALL = (SHIPPED, CUDA, NO_VOLUME, ONE_REPLICA, PLACED_BY_HAND, FORWARDED)
