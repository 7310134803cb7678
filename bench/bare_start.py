"""The least a start can take: `python -m bench.bare_start ENGINE MODEL CONTEXT` imports what serving needs, then maps.

In one process and one after the other: the modules of the server and of the engine, then the library's own loading.
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Import, load, end."""
    engine, path, context = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # `serve` itself imports the last two late.
    server = ("uvicorn", "ixmodal.cli.serve", "ixmodal.runtime", "ixmodal.server.app")
    for module in (*server, "ixmodal.engine.worker", f"ixmodal.backends.{engine}"):
        importlib.import_module(module)
    backend = sys.modules[f"ixmodal.backends.{engine}"]
    library = backend._library()
    if engine == "ctransformers":
        config = library.Config(context_length=context, mmap=True)
        library.LLM(path, "gguf", config=config, lib=backend.library_variant())
    else:
        params = library.llama_context_default_params()
        params.n_ctx = context
        model = library.llama_model_load_from_file(path.encode(), library.llama_model_default_params())
        library.llama_init_from_model(model, params)
    print("mapped", flush=True)


if __name__ == "__main__":
    main()
