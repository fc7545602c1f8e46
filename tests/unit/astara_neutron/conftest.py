"""Neutron's modules warn at import about libraries of theirs; that is not what these tests are about."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import neutron.common.config
    import neutron.plugins.ml2.plugin
    import neutron.services.ovn_l3.service_providers.user_defined  # noqa: F401

    import astara_neutron.plugin  # noqa: F401
