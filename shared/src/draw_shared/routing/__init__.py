"""Rules by which received series, studies and objects go to destinations: document and evaluation.

Nothing here reads a file, a table or the clock: who evaluates brings the facts.
"""
