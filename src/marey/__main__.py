"""`python -m marey` is the command line, and what torchrun starts."""

from marey.cli import main

main()
