"""No test sees a setting of whoever runs it."""

import os

for _name in [name for name in os.environ if name.startswith("WATCHWORD_") and not name.startswith("WATCHWORD_TEST_")]:
    del os.environ[_name]
