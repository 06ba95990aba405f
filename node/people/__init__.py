"""People: who may log in, by which password, directory or provider, and with which roles."""

from node.people.accounts import Because, Logins, Person, Refusal
from node.people.directory import Directory, roles_of
from node.people.passwords import hash_password, password_problem

__all__ = ["Because", "Directory", "Logins", "Person", "Refusal", "hash_password", "password_problem", "roles_of"]
