"""`python -m multirecall`: the command line."""

from multirecall.cli import main

main()
