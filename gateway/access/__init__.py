"""Who may use the service, and whose a thing is."""

CLIENT_KEY = "MASQUERADE_API_KEY"
"""The variable in which clients have their key. It is no setting: the service has hashes only."""
