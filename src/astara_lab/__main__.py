"""`python -m astara_lab`."""

from astara_lab.cli import lab

lab(prog_name="python -m astara_lab")
