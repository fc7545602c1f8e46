"""INI files as oslo.config reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

Value = str | int | bool | Path | Sequence[str]
Sections = Mapping[str, Mapping[str, Value]]


def render(sections: Sections) -> str:
    """Sections in the order given; a list becomes one line per member (oslo.config's MultiOpt)."""
    lines: list[str] = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        for name, value in options.items():
            if isinstance(value, (str, int, Path)):
                lines.append(f"{name} = {_word(value)}")
            else:
                lines.extend(f"{name} = {_word(member)}" for member in value)
        lines.append("")
    return "\n".join(lines)


def _word(value: str | int | bool | Path) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if "\n" in text:
        raise ValueError(f"a value of an INI file is one line: {text!r}")
    return text


def write(path: Path, sections: Sections) -> None:
    """Writes the file only when it would change, so that nothing looks newer than it is."""
    text = render(sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
