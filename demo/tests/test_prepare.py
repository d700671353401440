"""What a first start leaves behind."""

import stat

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth import authenticate, get_user_model

from demo.prepare import make_admin, write_env


def test_the_settings_are_private_and_hold_secrets_that_work(tmp_path):
    path = tmp_path / ".env"
    assert write_env(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    read = dict(line.split("=", 1) for line in lines)
    assert len(read["SECRET_KEY"]) >= 50
    Fernet(read["FIELD_KEYS"])
    assert read["OUTBOUND_ALLOW_NETS"] == "127.0.0.0/8,::1/128"


def test_settings_that_are_there_are_left_alone(tmp_path):
    path = tmp_path / ".env"
    path.write_text("SECRET_KEY=mine\n")
    assert not write_env(path)
    assert path.read_text() == "SECRET_KEY=mine\n"


def test_two_machines_get_different_secrets(tmp_path):
    write_env(tmp_path / "a")
    write_env(tmp_path / "b")
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


@pytest.mark.django_db
def test_the_admin_can_log_in_and_is_reported_the_same_password_again(tmp_path):
    file = tmp_path / "password"
    password = make_admin(file)
    user = authenticate(username="admin", password=password)
    assert user is not None
    assert user.is_superuser
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert make_admin(file) == password


@pytest.mark.django_db
def test_a_password_that_somebody_changed_is_neither_reported_nor_reset(tmp_path):
    file = tmp_path / "password"
    old = make_admin(file)
    user = get_user_model().objects.get()
    user.set_password("chosen by a person")
    user.save()
    printed = make_admin(file)
    assert old not in printed
    assert "changepassword" in printed
    assert authenticate(username="admin", password="chosen by a person") is not None


@pytest.mark.django_db
def test_a_site_that_has_a_superuser_gets_no_other(tmp_path):
    get_user_model().objects.create_superuser("grace", password="chosen by a person")
    make_admin(tmp_path / "password")
    assert [user.get_username() for user in get_user_model().objects.all()] == ["grace"]
    assert not (tmp_path / "password").exists()
