"""The command line: one module for each noun or verb, `main` puts them together.

Modules import what a command needs inside the command, so that `idp --help` answers at once. `run` opens the store for
a command and turns every expected error into one line and an exit code; `serve` is the command, `server` what it runs,
and `worker` what each of several worker processes runs.
"""
