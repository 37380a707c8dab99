"""Settings of hypothesis for the codec tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No time limits: on a loaded machine, a single example may take longer than the default 200 ms.
settings.register_profile("codecs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("codecs")
