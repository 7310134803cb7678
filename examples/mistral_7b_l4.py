"""Mistral 7B Instruct on one L4 of Modal, from zero to four replicas.

modal secret create mistral-keys IXMODAL_API_KEYS=choose-a-key
ixmodal check examples/mistral_7b_l4.py
ixmodal deploy examples/mistral_7b_l4.py
"""

from ixmodal import App, Endpoint, Image, Model, Scaling, Volume

INSTRUCT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'assistant' %}{{ message.content }}{{ eos_token }}"
    "{% else %}[INST] {{ message.content }} [/INST]{% endif %}"
    "{% endfor %}"
)

spec = App(
    name="mistral",
    image=Image.cuda(python="3.11"),
    gpu="L4",
    cpu=4,
    memory_mib=16_384,
    weights=Volume("mistral-weights", mount="/weights"),
    models=(
        Model(
            "mistral-7b-instruct",
            source="hf://TheBloke/Mistral-7B-Instruct-v0.2-GGUF",
            file="mistral-7b-instruct-v0.2.Q4_K_M.gguf",
            sha256="3e0039fd0273fcbebb49228943b17831aadd55cbcbf56f0af00499be2040ccf9",
            context_length=4096,
            slots=3,  # each slot has its own copy of the weights on the GPU: 3 × (4.1 + 0.5) GiB of 22.4
            gpu_layers="all",
            chat_template=INSTRUCT,
        ),
    ),
    endpoint=Endpoint(api_keys="secret:mistral-keys", max_queued=32),
    scaling=Scaling(max_replicas=4, scaledown_window=120),
)
