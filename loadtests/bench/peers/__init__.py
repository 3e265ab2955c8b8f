"""The same card job in other engines, over one broker in one run: what a user might pick instead of this project.

What the job is, exactly, and with which settings each engine runs it: README.md beside this file. The `*_job.py` run in a
virtual environment of their engine's own, so they import nothing of the project but `card_rules`, which stands beside them.
"""
