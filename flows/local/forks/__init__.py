"""Commands as forks of a process that has imported already what flows need, which takes them 3 s of CPU time.

The first command starts that process, the fork server, beside Prefect's embedded server, with which it ends. The next
ones hand themselves over: the fork gets their arguments, environment, folder, terminal and signals, and they end as it
does.
"""
