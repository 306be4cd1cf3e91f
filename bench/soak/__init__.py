"""The mixed load of a hospital for as long as one likes, with a verdict."""
