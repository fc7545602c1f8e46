"""Writes lifecycle.md beside this file from the declared table."""

from pathlib import Path

from astara.planning.diagram import page

if __name__ == "__main__":
    Path(__file__).with_name("lifecycle.md").write_text(page())
