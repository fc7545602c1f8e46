"""The admin REST API, version 1: paths, and the few bodies that are not already wire types of `model.operator`.

    GET  /v1/status                            StatusSummary
    GET  /v1/resources                         [ResourceLine]
    GET  /v1/resources/{driver}/{id}           ResourceDetail
    GET  /v1/resources/{driver}/{id}/history   [HistoryLine]
    GET  /v1/audit                             [AuditLine]; ?resource= &who= &outcome= &since= &limit=, as AuditQuery
    POST /v1/resources/{driver}/{id}/rebuild   -> 204
    POST /v1/resources/{driver}/{id}/hold      HoldRequest -> 204
    POST /v1/resources/{driver}/{id}/release   -> 204
    POST /v1/resources/{driver}/{id}/move      MoveRequest -> 204
    POST /v1/resync                            ResyncRequest -> ResyncReply
    GET  /v1/instances                         [InstanceLine]
    GET  /v1/instances/{id}/console-log        text/plain
    GET  /v1/drivers, /v1/providers            [PluginLine]
    GET  /v1/pool                              [PoolLine]
    GET  /v1/doctor                            [CheckLine]
    POST /v1/brake/release                     -> 204
    GET  /v1/nodes                             [NodeDetail]
    POST /v1/nodes/{name}/drain                HoldRequest -> 204
    POST /v1/nodes/{name}/undrain              -> 204
    GET  /v1/upgrade                           UpgradeView of the newest one
    POST /v1/upgrade                           UpgradeRequest -> UpgradeView
    POST /v1/upgrade/pause, /v1/upgrade/resume -> UpgradeView
    POST /v1/upgrade/abort                     AbortRequest -> UpgradeView

Refusals are a contract.agent.Problem with 400, 404, 409, 422, 500 or 503.
"""

from __future__ import annotations

from astara.contract.codec import Wire

ROOT = "/v1"


class HoldRequest(Wire, frozen=True):
    reason: str


class MoveRequest(Wire, frozen=True):
    """`to` names a body; None: the one the flavor or the configuration says."""

    to: str | None


class AbortRequest(Wire, frozen=True):
    """`back`: what was upgraded goes back."""

    back: bool = False


class ResyncRequest(Wire, frozen=True):
    """`resource` is "driver/id"; None means everything owned."""

    resource: str | None = None


class ResyncReply(Wire, frozen=True):
    queued: int
