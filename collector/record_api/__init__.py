"""The records API: gives records of the records store to programs that have the token.

`query` parses and checks filters, `routes` handles requests, `operations` describes the routes.
"""
