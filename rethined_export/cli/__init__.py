"""Command lines: argument parsing and printing only."""

import os
from pathlib import Path

try:
    Path.cwd()
    started_nowhere = False
except FileNotFoundError:  # it has been deleted, and torch cannot even be imported there
    os.chdir("/")
    #: The commands end with a message.
    started_nowhere = True
