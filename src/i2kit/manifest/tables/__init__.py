"""The one table of what manifests may say, in a module for each part of it, and what reads it. Pure.

table             how a line of it is written: accepted, silent, warned, refused
fields, …_fields  the fields of pods, and of what else there is
kinds             the documents, with the fields of each
shape, scalars    how the types in it read and describe themselves (with names, quantity)
reference         all of it → JSON Schema, docs/manifest.md and docs/compose.md
"""
