"""What `idp serve --demo` adds.

`data` is labs, people and clients to play with, and `relying_party` an application that signs in here, written to be
copied.
"""
