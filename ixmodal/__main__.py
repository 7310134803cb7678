"""`python -m ixmodal` is `ixmodal`."""

from ixmodal.cli import main

main()
