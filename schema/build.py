"""The schema is built here, from the core's types and the domains', and refused if a root field has no guard."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import strawberry
from graphql import GraphQLSchema
from strawberry.exceptions import DuplicatedTypeName
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.base import StrawberryObjectDefinition, has_object_definition
from strawberry.types.field import StrawberryField

from auth.scopes import Rights, rights
from schema.api_tokens import ApiTokensMutation
from schema.audit_events import AuditEventsQuery
from schema.documents import CREDENTIAL, Documents
from schema.domain import Domain, DomainRefused
from schema.execution import Schema
from schema.guards import DIRECTIVES, Guard
from schema.introspection import Introspection
from schema.limits import Limits
from schema.live_events import LiveEventsSubscription
from schema.login import LoginMutation
from schema.node import NodeQuery
from schema.passwords import PasswordsMutation
from schema.prepared import Preparing
from schema.rate_limit import RateLimitQuery
from schema.refresh import RefreshMutation
from schema.refused_acts import NotesRefusals
from schema.service_accounts import ServiceAccountsMutation, ServiceAccountsQuery
from schema.service_secrets import ServiceSecretsMutation
from schema.sessions import SessionsMutation
from schema.setup import SetupMutation
from schema.sign_up import SignUpMutation
from schema.trusted_documents import TrustedDocument
from schema.users import UsersMutation, UsersQuery
from schema.viewer import ViewerQuery

_CORE = {
    "Query": (ViewerQuery, NodeQuery, UsersQuery, ServiceAccountsQuery, AuditEventsQuery, RateLimitQuery),
    "Mutation": (
        SignUpMutation,
        LoginMutation,
        RefreshMutation,
        SessionsMutation,
        PasswordsMutation,
        ApiTokensMutation,
        ServiceAccountsMutation,
        ServiceSecretsMutation,
        UsersMutation,
        SetupMutation,
    ),
    "Subscription": (LiveEventsSubscription,),
}

_DESCRIPTIONS = {
    "Query": "What may be asked. Every field says in a directive who may.",
    "Mutation": "What may be done. Every field says in a directive who may.",
    "Subscription": "What may be followed. Every field says in a directive who may.",
}


class UnguardedField(Exception):
    """A root field without a permission class. Unguarded is a declaration: guard it with `Public` if you mean it."""


@dataclass(frozen=True, slots=True)
class Built:
    """A schema, and the rights that its scopes and roles amount to."""

    schema: Schema
    rights: Rights


def build_schema(
    domains: Sequence[Domain[Any]] = (),
    *,
    limits: Limits | None = None,
    introspection: Introspection = Introspection.AUTHENTICATED,
    trusted: Iterable[TrustedDocument] | None = None,
) -> Built:
    """Put the core and the domains together; where there are `trusted` documents, no others run.

    Raises `UnguardedField` and `DomainRefused`, each naming the field and the module that it was written in, and
    `TrustedDocumentsRefused` for documents that do not fit.
    """
    _require_different_names(domains)
    _require_different_claims(domains)
    all_rights = _rights_with(domains)
    parts = {root: [*_CORE[root], *_parts_of(domains, root)] for root in _CORE}
    for root, types in parts.items():
        _require_no_shadow(root, types)
        for part in types:
            for field in _fields(part):
                _require_guard(root, field, part)
    for part in parts["Mutation"]:
        _note_refusals(part)
    try:
        types = [type_ for domain in domains for type_ in domain.types]
        schema = _assemble(parts, types, limits or Limits(), introspection, trusted)
    except DuplicatedTypeName as error:
        both = " and ".join(
            f"{type_.__module__}.{type_.__qualname__}" for type_ in (error.first_cls, error.second_cls) if type_
        )
        raise DomainRefused(f"{error.message}: {both}") from error
    for type_name, field in _all_fields(schema._schema):  # noqa: SLF001 - it has no public name in Strawberry
        _require_known_scopes(type_name, field, all_rights)
        _print_guards(field)
    return Built(schema, all_rights)


def _assemble(
    parts: dict[str, list[type]],
    types: list[type],
    limits: Limits,
    introspection: Introspection,
    trusted: Iterable[TrustedDocument] | None,
) -> Schema:
    credential_fields = frozenset(
        _graphql_name(field)
        for part in parts["Mutation"]
        for field in _fields(part)
        if CREDENTIAL.items() <= field.metadata.items()
    )
    return Schema(
        prepare=lambda schema: Documents(Preparing(schema, limits, credential_fields, introspection.suggests), trusted),
        introspection=introspection,
        subscription_guards=_guards_by_name(parts["Subscription"]),
        query=_root("Query", parts),
        mutation=_root("Mutation", parts),
        subscription=_root("Subscription", parts),
        types=[*DIRECTIVES, *types],
        config=StrawberryConfig(disable_field_suggestions=not introspection.suggests),
    )


def _root(name: str, parts: dict[str, list[type]]) -> type:
    return strawberry.type(type(name, tuple(parts[name]), {}), name=name, description=_DESCRIPTIONS[name])


def _parts_of(domains: Sequence[Domain[Any]], root: str) -> Iterator[type]:
    for domain in domains:
        part = {"Query": domain.query, "Mutation": domain.mutation, "Subscription": domain.subscription}[root]
        if part is None:
            continue
        if not has_object_definition(part):
            where = f"{part.__module__}.{part.__qualname__}"
            raise DomainRefused(f"the {root} of the domain {domain.name!r}, {where}, is not a @strawberry.type")
        yield part


def _rights_with(domains: Sequence[Domain[Any]]) -> Rights:
    sentences = {scope: sentence for domain in domains for scope, sentence in domain.scopes.items()}
    grants: dict[str, set[str]] = {}
    for domain in domains:
        for role, scopes in domain.grants.items():
            grants.setdefault(role, set()).update(scopes)
    return rights(sentences, grants)


def _require_different_names(domains: Sequence[Domain[Any]]) -> None:
    names = [domain.name for domain in domains]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DomainRefused(f"two domains are called {repeated[0]!r}")


def _require_different_claims(domains: Sequence[Domain[Any]]) -> None:
    owners: dict[str, str] = {}
    for domain in domains:
        for claim in domain.claims:
            if claim in owners:
                raise DomainRefused(f"the domains {owners[claim]!r} and {domain.name!r} both add the claim {claim!r}")
            owners[claim] = domain.name


def _require_no_shadow(root: str, types: Sequence[type]) -> None:
    # By both names: fields of one GraphQL name shadow each other in the schema, and those of one Python name already
    # where the parts are merged, without a word.
    owners: dict[str, str] = {}
    for part in types:
        for field in _fields(part):
            names = (f"{root}.{_graphql_name(field)}", f"the resolver {field.python_name!r} of {root}")
            for name in names:
                if name in owners:
                    raise DomainRefused(f"{name} of {_where(field, part)} shadows the one of {owners[name]}")
            owners.update(dict.fromkeys(names, _where(field, part)))


def _require_guard(root: str, field: StrawberryField, part: type) -> None:
    if not any(issubclass(guard, Guard) for guard in field.permission_classes):
        raise UnguardedField(
            f"{root}.{_graphql_name(field)} of {_where(field, part)} has no permission class; "
            "give it one of schema.guards, Public if anybody may call it"
        )


def _require_known_scopes(type_name: str, field: StrawberryField, all_rights: Rights) -> None:
    for guard in _guards(field):
        if guard.required_scope is not None and guard.required_scope not in all_rights.sentences:
            raise DomainRefused(
                f"{type_name}.{_graphql_name(field)} of {_where(field)} wants the scope {guard.required_scope!r}, "
                "which nobody declares: no one could ever call it"
            )


def _print_guards(field: StrawberryField) -> None:
    """Give a field the directives of its guards, so that the SDL is the access matrix."""
    missing = [guard.directive for guard in _guards(field) if guard.directive not in field.directives]
    field.directives = [*field.directives, *missing]


def _note_refusals(part: type) -> None:
    for field in _fields(part):
        if not any(isinstance(extension, NotesRefusals) for extension in field.extensions):
            field.extensions.append(NotesRefusals())


def _all_fields(schema: GraphQLSchema) -> Iterator[tuple[str, StrawberryField]]:
    for kind in schema.type_map.values():
        for field in getattr(kind, "fields", {}).values():
            definition = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
            if isinstance(definition, StrawberryField):
                yield kind.name, definition


def _guards(field: StrawberryField) -> list[type[Guard]]:
    return [guard for guard in field.permission_classes if issubclass(guard, Guard)]


def _guards_by_name(parts: Sequence[type]) -> Mapping[str, tuple[Guard, ...]]:
    fields = (field for part in parts for field in _fields(part))
    return MappingProxyType({_graphql_name(field): tuple(guard() for guard in _guards(field)) for field in fields})


def _fields(part: type) -> list[StrawberryField]:
    definition: StrawberryObjectDefinition = part.__strawberry_definition__  # type: ignore[attr-defined]
    return definition.fields


def _graphql_name(field: StrawberryField) -> str:
    return StrawberryConfig().name_converter.from_field(field)


def _where(field: StrawberryField, part: type | None = None) -> str:
    origin = field.origin or part
    return f"{origin.__module__}.{origin.__qualname__}" if origin else "?"
