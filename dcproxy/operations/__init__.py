"""The operations of the API: Deltacloud requests translated to EC2 calls, and their results back.

One module per collection. A function per operation, named as in Deltacloud, takes an
``ApiCall`` and returns a response. It raises ``ApiError`` or ``EC2Error``.
"""
