"""Provider `aws`: one CloudFormation stack per deployment, and nothing of ours left running.

`values`, `template`, `checks`, `difference`, `cost` and `instances` decide and do no I/O.
`session` and `calls` reach AWS and put its errors into words, `stacks` makes, changes and removes stacks.
"""
