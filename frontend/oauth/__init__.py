"""The HTTP side of each team's OAuth issuer: metadata, consent, tokens, registration. The rules are the services'."""
