"""Scopes and roles: what a role grants, and that nothing is granted by accident."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auth.scopes import ADMIN, CORE_SCOPES, ROLES, USER, Rights, is_scope, rights

SCOPES = ["books:read", "books:write", "books:lend", "cars:drive", "users:read", "users:delete"]
MINE = {"activity:read", "profile:read", "services:read", "sessions:read", "tokens:read"}
role_names = st.sampled_from([USER, ADMIN, "auditor", "owner", "Admin", "", "admin "])


def any_rights() -> st.SearchStrategy[Rights]:
    """Rights of an installation with any scopes and any grants of them, as domains would declare them."""

    def with_grants(names: frozenset[str]) -> st.SearchStrategy[Rights]:
        scopes = st.frozensets(st.sampled_from(sorted(names))) if names else st.just(frozenset[str]())
        grants = st.dictionaries(role_names, scopes)
        return grants.map(lambda granted: rights(dict.fromkeys(names, "A sentence."), granted))

    return st.frozensets(st.sampled_from(SCOPES)).flatmap(with_grants)


def test_every_core_scope_is_a_scope_and_has_a_sentence() -> None:
    for scope, sentence in rights().sentences.items():
        assert is_scope(scope)
        assert sentence.strip()


def test_a_user_sees_what_is_their_own_and_administers_nothing() -> None:
    assert rights().of_roles({USER}) == MINE


def test_an_administrator_holds_every_scope_those_of_domains_included() -> None:
    assert rights().of_roles({ADMIN}) == set(CORE_SCOPES)
    assert rights({"books:read": "Read the catalogue"}).of_roles({ADMIN}) == {*CORE_SCOPES, "books:read"}


def test_a_domain_grants_its_scopes_to_users_only_where_it_says_so() -> None:
    sentences = {"books:read": "Read the catalogue", "books:write": "Change it"}
    granted = rights(sentences, {USER: ["books:read"]})
    assert granted.of_roles({USER}) == {*MINE, "books:read"}


def test_nobody_without_a_role_holds_anything() -> None:
    assert rights().of_roles([]) == frozenset()


@pytest.mark.parametrize("role", ["", "root", "Admin", "ADMIN", "admin ", "admin,user", "*", "user:admin"])
def test_a_role_that_is_not_known_grants_nothing(role: str) -> None:
    assert role not in ROLES
    assert rights().of_roles({role}) == frozenset()
    assert rights().of_roles({USER, role}) == rights().of_roles({USER})


def test_rights_cannot_be_widened_once_they_are_put_together() -> None:
    granted = rights()
    with pytest.raises(TypeError):
        granted.grants[USER] = frozenset(CORE_SCOPES)  # type: ignore[index]
    with pytest.raises(TypeError):
        granted.sentences["users:delete"] = "Remove accounts"  # type: ignore[index]


@pytest.mark.parametrize("text", ["users:read", "service-accounts:write", "a:b", "x1:y-2"])
def test_a_scope_is_a_resource_and_an_action(text: str) -> None:
    assert is_scope(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "users",
        "users:",
        ":read",
        "users:read:all",
        "users read",
        "users:read ",
        "users:read\n",
        "Users:read",
        "users:*",
        "1users:read",
        "-users:read",
        "us_ers:read",
        "us\u00e9rs:read",
        "users:\u0669",
    ],
)
def test_whatever_else_is_written_is_not_a_scope(text: str) -> None:
    assert not is_scope(text)


@settings(max_examples=50)
@given(granted=any_rights(), roles=st.frozensets(role_names))
def test_roles_never_give_what_no_role_of_them_grants(granted: Rights, roles: frozenset[str]) -> None:
    held = granted.of_roles(roles)
    assert held <= frozenset().union(*granted.grants.values())
    for scope in held:
        assert any(scope in granted.grants.get(role, frozenset()) for role in roles)


@settings(max_examples=50)
@given(granted=any_rights(), roles=st.frozensets(role_names), more=st.frozensets(role_names))
def test_a_role_more_never_takes_a_scope_away(granted: Rights, roles: frozenset[str], more: frozenset[str]) -> None:
    assert granted.of_roles(roles) | granted.of_roles(more) == granted.of_roles(roles | more)


@settings(max_examples=50)
@given(granted=any_rights(), roles=st.frozensets(role_names))
def test_every_scope_that_anybody_holds_has_a_sentence(granted: Rights, roles: frozenset[str]) -> None:
    assert granted.of_roles(roles) <= set(granted.sentences)
    assert granted.of_roles(roles) <= granted.of_roles({ADMIN})


@settings(max_examples=50)
@given(granted=any_rights(), stranger=st.text())
def test_a_role_that_nobody_declared_grants_nothing_whatever_it_is_called(granted: Rights, stranger: str) -> None:
    if stranger not in granted.grants:
        assert granted.of_roles({stranger}) == frozenset()
