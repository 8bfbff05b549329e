"""No test sees a setting of whoever runs it, and properties hold on a busy machine too."""

import os

from hypothesis import HealthCheck, settings

for _name in [name for name in os.environ if name.startswith("WATCHWORD_") and not name.startswith("WATCHWORD_TEST_")]:
    del os.environ[_name]

# Fixtures for whoever tests, in examples too.
pytest_plugins = ["tests.houses"]

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
