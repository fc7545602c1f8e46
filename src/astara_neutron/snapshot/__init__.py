"""Bulk reads: everything about N routers or N networks, in a number of queries that does not depend on N.

Every query is a plain select over the columns needed. Neutron's ORM relationships are never touched: loading
one of them lazily costs a query for each router, and the eager ones fetch what nobody asked for.
"""
