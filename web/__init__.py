"""The HTTP edge: the GraphQL view, cookies, headers, health and static files.

It alone reads request headers and writes cookies. What a credential means, it leaves to `auth.gate`.
"""
