"""This repository's own deployment, declared once.

On Modal:         modal run app.py::pull  # optional: put the weights onto the volume ahead of the first replica
                  modal deploy app.py
On this machine:  IXMODAL_SPEC=app:spec uvicorn ixmodal.asgi:app
"""

from ixmodal import App, Endpoint, Image, Model, Scaling, Volume
from ixmodal.deploy.modal import build, pull_of

INSTRUCT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'assistant' %}{{ message.content }}{{ eos_token }}"
    "{% else %}[INST] {{ message.content }} [/INST]{% endif %}"
    "{% endfor %}"
)

spec = App(
    name="ixmodal",
    image=Image.cuda(python="3.11"),
    gpu=("L4", "A10G"),  # in order of preference
    cpu=4,
    memory_mib=8192,
    weights=Volume("ixmodal-weights", mount="/weights"),
    models=(
        Model(
            "mistral-7b-instruct",
            source="hf://TheBloke/Mistral-7B-Instruct-v0.2-GGUF",
            file="mistral-7b-instruct-v0.2.Q4_K_M.gguf",
            sha256="3e0039fd0273fcbebb49228943b17831aadd55cbcbf56f0af00499be2040ccf9",
            context_length=8192,
            slots=4,
            gpu_layers="all",
            chat_template=INSTRUCT,
        ),
    ),
    endpoint=Endpoint(api_keys="secret:ixmodal-keys", max_queued=64),
    scaling=Scaling(min_replicas=0, max_replicas=8, target_concurrency=4),
)
app = build(spec)
pull = pull_of(app)
