"""Runs several commands of one management program with one start of the interpreter.

`PYTHON -P one_start.py MODULE:FUNCTION JSON`, JSON a list of argument lists (-P: what lies beside this file has names
like theirs). What these programs import costs more than what they do. It is run by the interpreter of the program's own
virtual environment and needs nothing of Astara's.
"""

import importlib
import json
import os
import sys


def main(target: str, commands: list[list[str]]) -> int:
    """Each command in a child of its own, one after the other, until one fails. Returns the exit status."""
    module, _, function = target.partition(":")
    run = getattr(importlib.import_module(module), function)
    for words in commands:
        child = os.fork()
        if not child:
            sys.argv = [module, *words]
            sys.exit(run())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            sys.stderr.write(f"{module} {' '.join(words)}: ended with {status}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))
