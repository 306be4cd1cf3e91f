"""The mixed load of a hospital for any time, with a verdict."""
