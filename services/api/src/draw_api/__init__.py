"""REST interface and web page for operators."""
