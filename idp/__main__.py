"""`python -m idp` is the command `idp`."""

from idp.cli.main import main

main()
