"""`python3 -m astara.host.machine` is the machine's first process."""

from astara.host.machine.main import main

main()
