"""What the demo says while it runs, and the table at its end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

T = TypeVar("T")


class Proof(msgspec.Struct, frozen=True):
    """One claim, shown true or not. `took_s` is what was measured by packets, None where time is not the point."""

    claim: str
    ok: bool
    evidence: str
    took_s: float | None = None


class Result(msgspec.Struct, frozen=True):
    """What `make demo` found out; `--json` prints this."""

    ok: bool
    first_packet_s: float
    memory_bytes: int
    total_s: float
    proofs: tuple[Proof, ...]

    @classmethod
    def of(cls, proofs: Sequence[Proof], *, first_packet_s: float, memory_bytes: int, total_s: float) -> Result:
        """Judge: everything was proved, or nothing counts."""
        return cls(
            ok=bool(proofs) and all(proof.ok for proof in proofs),
            first_packet_s=first_packet_s,
            memory_bytes=memory_bytes,
            total_s=total_s,
            proofs=tuple(proofs),
        )


@dataclass(frozen=True, slots=True)
class Screen:
    """Speaks to a console; `began` is the monotonic time all times on screen count from."""

    console: Console
    began: float

    def since(self) -> float:
        return time.monotonic() - self.began

    def chapter(self, title: str) -> None:
        self.console.print()
        self.console.rule(f"[bold]{escape(title)}", align="left")

    def say(self, words: str) -> None:
        self.console.print(f"[dim]{self.since():6.1f} s[/]  {words}")

    @contextlib.contextmanager
    def doing(self, words: str) -> Iterator[None]:
        """Show that something is under way, then that it is done and how long it took."""
        began = time.monotonic()
        with self.console.status(words):
            yield
        self.say(f"{words} [dim]({time.monotonic() - began:.2f} s)[/]")

    def done(self, words: str, work: Callable[[], T]) -> T:
        with self.doing(words):
            return work()

    def proved(self, proof: Proof) -> Proof:
        mark = "[green]proved[/]" if proof.ok else "[bold red]FAILED[/]"
        self.say(f"{mark}  {escape(proof.claim)}: {escape(proof.evidence)}")
        return proof


def proof_table(proofs: Sequence[Proof]) -> Table:
    drawn = Table(title="What was proved, by packets", title_justify="left", title_style="bold")
    drawn.add_column("claim")
    drawn.add_column("")
    drawn.add_column("time", justify="right")
    drawn.add_column("evidence", overflow="fold")
    for proof in proofs:
        mark = "[green]yes[/]" if proof.ok else "[bold red]NO[/]"
        drawn.add_row(escape(proof.claim), mark, _time(proof.took_s), escape(proof.evidence))
    return drawn


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
