"""``python -m koopstep``: the command line, also for launchers such as torchrun."""

from koopstep.cli.main import main

main()
