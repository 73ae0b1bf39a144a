"""Provider `aws`: one CloudFormation stack per deployment, and nothing of ours left running.

`values`, `template`, `checks`, `difference`, `cost` and `instances` decide and do no I/O.
"""
