"""The app of the spec that `IXMODAL_SPEC` names: `modal deploy -m ixmodal.deploy.modal.declared`."""

from ixmodal.deploy.modal import build, pull_of
from ixmodal.deploy.modal.checks import downloads
from ixmodal.spec.sources import load_spec

spec = load_spec()
app = build(spec)
if spec.weights and downloads(spec):
    pull = pull_of(app)
