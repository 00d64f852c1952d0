"""What `idp serve --demo` adds: `relying_party`, an application that signs in here, written to be copied."""
