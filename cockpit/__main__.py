"""`python -m cockpit`: the command line."""

import signal

# Until the command line is loaded, Ctrl-C just ends this process: there is nothing to stop yet.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from cockpit.cli import main  # noqa: E402

signal.signal(signal.SIGINT, signal.default_int_handler)
main()
