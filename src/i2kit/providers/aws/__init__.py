"""Provider `aws`: one CloudFormation stack per deployment, and nothing of ours left running.

`values`, `template`, `checks`, `difference`, `cost`, `instances` and `blockmap` decide and do no I/O.
`ami` makes AMIs of disks, by `snapshot`; both reach AWS through `session` and `calls`.
`session` and `calls` reach AWS and put its errors into words, `stacks` makes, changes and removes stacks.
"""
