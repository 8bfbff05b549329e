"""The names that this application puts on Python's path, and who owns them.

PyPI has packages that own some of them too, and pip overwrites silently.
"""

from collections.abc import Iterator, Mapping

from doctor.findings import Finding

OWN_MODULES = (
    "auth",
    "schema",
    "store",
    "web",
    "server",
    "cli",
    "doctor",
    "installation",
    "settings",
    "token_explained",
    "worker",
    "workers",
)


def module_owners(distributions: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Look at whether each of our module names has one owner among the installed packages."""
    shared = {module: sorted(set(distributions.get(module, [])) - {"watchword"}) for module in OWN_MODULES}
    for module, others in shared.items():
        if others:
            remedy = "install Watchword in an environment of its own"
            yield Finding(f"module {module}", f"{', '.join(others)} owns this name too", remedy)
    if not any(shared.values()):
        yield Finding("modules", "each name has one owner")
