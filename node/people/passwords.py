"""Passwords of local accounts: argon2id with the parameters of RFC 9106, section 4, second recommendation."""

from __future__ import annotations

import functools
import secrets
import threading

import argon2

_HASHER = argon2.PasswordHasher()
#: Each computation takes 64 MiB; more at once would be a way to fill the memory.
_AT_ONCE = threading.BoundedSemaphore(2)
#: Longer ones are refused rather than cut.
_MOST_CHARACTERS = 256


def hash_password(password: str) -> str:
    """Return the hash to keep, with its parameters and salt."""
    with _AT_ONCE:
        return _HASHER.hash(password)


def is_password(password_hash: str, password: str) -> bool:
    """Whether this is the password. Without a hash it takes the same time, so that the answer does not tell who exists."""
    if len(password) > _MOST_CHARACTERS:
        return False
    with _AT_ONCE:
        try:
            _HASHER.verify(password_hash or _nobodys(), password)
        except (argon2.exceptions.VerifyMismatchError, argon2.exceptions.InvalidHashError):
            return False
    return bool(password_hash)


def is_outdated(password_hash: str) -> bool:
    """Whether the hash has older parameters than a new one would."""
    return _HASHER.check_needs_rehash(password_hash)


def password_problem(password: str, name: str, min_length: int) -> str:
    """Why a password cannot be used (NIST SP 800-63B 3.1.1.2); empty if it can."""
    if len(password) < min_length:
        return f"The password needs at least {min_length} characters."
    if len(password) > _MOST_CHARACTERS:
        return f"The password has more than {_MOST_CHARACTERS} characters."
    if len(set(password.lower())) < 4 or name.lower() in password.lower():
        return "The password must not contain the name, or repeat a few characters."
    return ""


@functools.cache
def _nobodys() -> str:
    return _HASHER.hash(secrets.token_hex())
