"""A domain to copy from: a catalogue that everybody reads, and a shelf that is each reader's own."""

from dataclasses import replace

from examples.bookshop.domain import foundation
from examples.bookshop.schema import Mutation, Query, Subscription

__all__ = ["bookshop"]

bookshop = replace(foundation, query=Query, mutation=Mutation, subscription=Subscription)
