"""`python3 -m astara.host.machine` is the machine's first process."""

from astara.spared import inside_a_machine

with inside_a_machine():
    from astara.host.machine.main import main

main()
