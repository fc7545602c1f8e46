"""Pictures of a run as SVG 1.1: plain text made here, readable on a light and on a dark page. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from chaos.history import Fault, Flow, History, Sample, of

_WIDTH, _LEFT, _RIGHT, _TOP = 1200, 190, 20, 46
_PANEL, _ROW, _GAP = 120, 16, 34
_INK, _FAINT, _BAND, _AWAY = "#6e7781", "#d0d7de", "#fb8500", "#cf222e"
_CALM, _SINGLE, _PAIR = "#0969da", "#1a7f37", "#8250df"


@dataclass
class Drawing:
    """Elements in the order in which they are drawn; `height` is known at the end."""

    width: int = _WIDTH
    height: int = 0
    _parts: list[str] = field(default_factory=list)

    def box(
        self, x: float, y: float, width: float, height: float, colour: str, *, opacity: float = 1.0, says: str = ""
    ) -> None:
        inside = f"<title>{escape(says)}</title>" if says else ""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1.0):.1f}" height="{height:.1f}" '
            f'fill="{colour}" fill-opacity="{opacity}">{inside}</rect>'
        )

    def line(self, points: Iterable[tuple[float, float]], colour: str) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.2"/>')

    def words(self, x: float, y: float, text: str, *, size: int = 11, anchor: str = "start") -> None:
        look = f'font-size="{size}" text-anchor="{anchor}" fill="{_INK}"'
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(text)}</text>')

    def text(self) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" font-family="sans-serif">'
        )
        return "\n".join((head, *self._parts, "</svg>")) + "\n"


def timeline(history: History) -> str:
    """Faults as bands, what was unsettled, and where packets were silent, over one axis of time."""
    faults, samples = of(Fault, history), of(Sample, history)
    flows = sorted(of(Flow, history), key=lambda flow: (flow.through != "single", flow.name))
    end_s = max([1.0, *(s.at_s for s in samples), *(f.over_s for f in faults)])
    drawing = Drawing()

    def x(at_s: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(at_s, end_s) / end_s

    rows = len(flows) * _ROW
    drawing.height = _TOP + _PANEL + _GAP + rows + _GAP
    for number, fault in enumerate(faults, 1):
        wide = max(x(fault.over_s) - x(fault.at_s), 2.0)
        drawing.box(
            x(fault.at_s), _TOP, wide, drawing.height - _TOP - _GAP, _BAND, opacity=0.25, says=_named(number, fault)
        )
        drawing.words(x(fault.at_s), _TOP - 4 - 11 * (number % 3), str(number), size=9)
    _unsettled(drawing, samples, x)
    _silences(drawing, flows, x, _TOP + _PANEL + _GAP)
    _axis(drawing, end_s, x)
    return drawing.text()


def _named(number: int, fault: Fault) -> str:
    return f"{number}: {fault.kind} {fault.target} at {fault.at_s:.1f} s"


def _unsettled(drawing: Drawing, samples: Sequence[Sample], x: object) -> None:
    assert callable(x)
    most = max([1, *(sample.unsettled for sample in samples)])
    floor = _TOP + _PANEL
    drawing.words(8, _TOP + 14, "unsettled resources")
    drawing.words(8, _TOP + 30, "(red: a part is away)", size=10)
    drawing.words(_LEFT - 6, _TOP + 10, str(most), anchor="end", size=10)
    drawing.words(_LEFT - 6, floor, "0", anchor="end", size=10)
    drawing.line(((_LEFT, floor), (_WIDTH - _RIGHT, floor)), _FAINT)
    for sample, later in itertools.pairwise(samples):
        if sample.away:
            drawing.box(
                x(sample.at_s), floor + 2, x(later.at_s) - x(sample.at_s), 6, _AWAY, says="; ".join(sample.away)
            )
    steps = []
    for sample in samples:
        height = floor - (_PANEL - 6) * sample.unsettled / most
        steps += [(x(sample.at_s), steps[-1][1] if steps else height), (x(sample.at_s), height)]
    drawing.line(steps, _CALM)


def _silences(drawing: Drawing, flows: Sequence[Flow], x: object, top: float) -> None:
    assert callable(x)
    for row, flow in enumerate(flows):
        y = top + row * _ROW
        colour = _SINGLE if flow.through == "single" else _PAIR
        drawing.words(8, y + 11, flow.name)
        drawing.line(((_LEFT, y + 8), (_WIDTH - _RIGHT, y + 8)), _FAINT)
        for at_s, seconds in flow.silences:
            says = f"{seconds * 1000:.0f} ms without an answer at {at_s:.1f} s"
            drawing.box(x(at_s), y + 4, x(at_s + seconds) - x(at_s), 8, colour, says=says)
        for at_s in flow.lost_at:
            drawing.box(x(at_s) - 1, y + 2, 2, 12, _AWAY, says=f"lost, sent at {at_s:.1f} s")


def _axis(drawing: Drawing, end_s: float, x: object) -> None:
    assert callable(x)
    step = next(step for step in (5, 10, 20, 30, 60, 120, 300, 600, 3600) if end_s / step <= 16 or step == 3600)
    y = drawing.height - _GAP
    drawing.line(((_LEFT, y), (_WIDTH - _RIGHT, y)), _INK)
    for mark in range(0, int(end_s) + 1, step):
        drawing.line(((x(mark), y), (x(mark), y + 4)), _INK)
        drawing.words(x(mark), y + 16, f"{mark} s", size=10, anchor="middle")


def recoveries(faults: Sequence[Fault]) -> str:
    """For each fault a bar: seconds from its end until everything was verified again."""
    drawing = Drawing()
    left, right = 330, 90
    most = max([1.0, *(f.verified_s - f.over_s for f in faults if f.verified_s is not None)])
    drawing.height = 30 + len(faults) * _ROW
    drawing.words(8, 16, "seconds from the end of a fault until everything was verified again")
    for row, fault in enumerate(faults):
        y = 24 + row * _ROW
        drawing.words(8, y + 12, f"{row + 1}  {fault.kind} {fault.target}")
        if fault.verified_s is None:
            drawing.words(left, y + 12, fault.failed or "not before the next fault", size=10)
            continue
        took_s = fault.verified_s - fault.over_s
        wide = (_WIDTH - left - right) * took_s / most
        drawing.box(left, y + 3, wide, _ROW - 6, _CALM)
        drawing.words(left + wide + 6, y + 12, f"{took_s:.1f} s", size=10)
    return drawing.text()
