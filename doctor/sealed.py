"""The secret key, and the signing keys that are sealed under it."""

from collections.abc import Iterator, Sequence

from auth.key_ring import open_key
from auth.sealing import SealBroken, Sealer
from doctor.findings import Finding
from installation import Installation
from settings import Settings
from store.signing_keys import SigningKeyRow

_FEWEST_LETTERS = 10  # that are different; chance puts more than twice as many into a key of 32


def sealed(installation: Installation, rows: Sequence[SigningKeyRow]) -> Iterator[Finding]:
    """Look at the secret key, and open every signing key with it."""
    settings = installation.settings
    if rows and not settings.secret_key and not (settings.data_dir / "secret_key").exists():
        yield Finding("secret key", "gone from the data folder", "put it back: the signing keys are sealed under it")
        return
    yield _secret_key(settings)
    if rows:
        yield _signing_keys(installation, rows)
    else:
        yield Finding("signing keys", "none yet; the first start makes them")


def _secret_key(settings: Settings) -> Finding:
    kept = settings.data_dir / "secret_key"
    if not settings.secret_key:
        state = f"kept in {kept}" if kept.exists() else "none yet; the first start makes one, for development"
        return Finding("secret key", state)
    given = [key.get_secret_value() for key in settings.secret_key]
    if any(len(set(key)) < _FEWEST_LETTERS or "openssl rand" in key for key in given):
        return Finding("secret key", "can be guessed", "rotate it: `openssl rand -base64 48` makes one")
    if kept.exists() and kept.read_text(encoding="utf-8").strip() in given:
        state = f"is the one of development, which stands beside the database in {kept}"
        return Finding("secret key", state, f"rotate it, keep the new one elsewhere, and remove {kept}")
    return Finding("secret key", "set" if len(given) == 1 else f"set, with {len(given) - 1} that still open")


def _signing_keys(installation: Installation, rows: Sequence[SigningKeyRow]) -> Finding:
    sealer = Sealer(installation.secret_keys())
    try:
        for row in rows:
            open_key(row, sealer)
    except SealBroken as broken:
        return Finding("signing keys", str(broken), "set the WATCHWORD_SECRET_KEY that this database was made with")
    return Finding("signing keys", f"{len(rows)}, all of them open")
