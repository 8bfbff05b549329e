"""What `watchword doctor` looks at: each finding says what is, and how to mend what is wrong."""

import asyncio
from importlib.metadata import packages_distributions

from auth.clock import Clock, SystemClock
from doctor.database import kept
from doctor.findings import Finding, Standing
from doctor.machine import given_by_the_machine
from doctor.names import OWN_MODULES, module_owners
from doctor.online import answered
from doctor.reaching import reached
from installation import Installation

__all__ = ["OWN_MODULES", "Finding", "Standing", "examine", "module_owners"]


def examine(installation: Installation, *, online: bool = False, clock: Clock | None = None) -> list[Finding]:
    """Look at everything, changing nothing; `online` asks the public URL too, for some seconds at the most."""
    settings, clock = installation.settings, clock or SystemClock()
    return [
        Finding("settings", f"read; people reach it at {settings.public_url}"),
        *reached(settings, clock.now()),
        *given_by_the_machine(settings),
        *kept(installation, clock),
        *module_owners(packages_distributions()),
        *(asyncio.run(answered(settings, clock)) if online else ()),
    ]
