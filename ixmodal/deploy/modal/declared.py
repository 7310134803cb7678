"""The app of the spec that `IXMODAL_SPEC` names: `modal deploy -m ixmodal.deploy.modal.declared`."""

from ixmodal.deploy.modal import build
from ixmodal.spec.sources import load_spec

app = build(load_spec())
