"""`python -m blendin_local` is `blendin`."""

from blendin_local.cli import main

main(prog_name="blendin")
