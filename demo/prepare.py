"""What a first start needs: settings with secrets of their own, a database, somebody who may log in."""

import os
import secrets
from base64 import urlsafe_b64encode
from pathlib import Path

ENV = """\
# Written by ./run for this machine. What each variable means, and all the others: .env.example.
SECRET_KEY={secret}
FIELD_KEYS={field_key}
# No TLS on loopback. In production leave this out.
HTTPS=false
ALLOWED_HOSTS=127.0.0.1,localhost,[::1]
# The demo's partner is on this machine. In production leave this out, or name your own networks.
OUTBOUND_ALLOW_NETS=127.0.0.0/8,::1/128
"""
ADMIN = "admin"


def write_env(path: Path) -> bool:
    """Write a settings file that only its owner can read; return False when there is one already."""
    text = ENV.format(
        secret=secrets.token_urlsafe(48), field_key=urlsafe_b64encode(secrets.token_bytes(32)).decode()
    )
    try:
        _write_private(path, text, os.O_EXCL)
    except FileExistsError:
        return False
    return True


def make_admin(password_file: Path) -> str:
    """Create the user `admin`, unless some superuser exists; return what to tell about the password.

    The password is kept in `password_file`, for its owner, and told as long as it is the right one.
    """
    from django.contrib.auth import get_user_model

    users = get_user_model()._default_manager
    if not users.filter(is_superuser=True).exists():
        password = secrets.token_urlsafe(12)
        _write_private(password_file, password + "\n", os.O_TRUNC)
        users.create_superuser(ADMIN, password=password)
        return password
    user = users.filter(username=ADMIN).first()
    kept = password_file.read_text().strip() if password_file.exists() else ""
    if user is not None and kept and user.check_password(kept):
        return kept
    return "(set by somebody; a new one: .venv/bin/python manage.py changepassword NAME)"


def _write_private(path: Path, text: str, flag: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flag, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
