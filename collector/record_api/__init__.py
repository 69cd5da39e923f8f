"""The records API: records of the records store, for programs that have the token.

`query` reads and checks filters, `routes` answers, `operations` describes the routes.
"""
