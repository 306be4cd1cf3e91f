"""Documents of the rules for tests that are about their rules."""


def with_destinations(document):
    """Return a document that defines each destination which its rules name, as a folder."""
    named = dict.fromkeys(n for rule in document["rules"] for n in rule.get("destinations", ()))
    return {
        "destinations": [
            {"kind": "folder", "name": name, "path": f"/var/lib/handlers/{number}"}
            for number, name in enumerate(named)
        ],
        **document,
    }
