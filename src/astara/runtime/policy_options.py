"""The numbers of the planning room as options of section [engine]."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from oslo_config import cfg

from astara.planning.policy import Policy

_DEFAULT = Policy()
_TIMES = (
    "silent_deadline_s",
    "degraded_deadline_s",
    "rebuild_window_s",
    "silent_look_s",
    "unreachable_look_s",
    "waiting_look_s",
)

POLICY_OPTIONS = [
    *(cfg.FloatOpt(name, default=getattr(_DEFAULT, name), min=0.05) for name in _TIMES),
    cfg.IntOpt("failure_budget", default=_DEFAULT.failure_budget, min=1),
    cfg.IntOpt("rebuild_budget", default=_DEFAULT.rebuild_budget, min=1),
    cfg.FloatOpt("retry_first_s", default=_DEFAULT.backoff.first_s, min=0.01),
    cfg.FloatOpt("retry_cap_s", default=_DEFAULT.backoff.retry_cap_s, min=0.01),
    cfg.FloatOpt("brake_fraction", default=_DEFAULT.brake.fraction, min=0.0, max=1.0),
    cfg.IntOpt("brake_at_least", default=_DEFAULT.brake.at_least, min=1),
    cfg.FloatOpt("brake_window_s", default=_DEFAULT.brake.window_s, min=1.0),
]


def policy(section: Any) -> Policy:
    """Return the policy that section [engine] describes."""
    return replace(
        _DEFAULT,
        **{name: getattr(section, name) for name in _TIMES},
        failure_budget=section.failure_budget,
        rebuild_budget=section.rebuild_budget,
        backoff=replace(_DEFAULT.backoff, first_s=section.retry_first_s, retry_cap_s=section.retry_cap_s),
        brake=replace(
            _DEFAULT.brake,
            fraction=section.brake_fraction,
            at_least=section.brake_at_least,
            window_s=section.brake_window_s,
        ),
    )
