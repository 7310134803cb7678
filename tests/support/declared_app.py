"""What a deployer writes, for any spec: `IXMODAL_SPEC` says which."""

from ixmodal import load_spec
from ixmodal.deploy.modal import build

spec = load_spec()
app = build(spec)
