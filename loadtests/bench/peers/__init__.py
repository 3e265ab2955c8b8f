"""The same card job in other engines, over one broker in one run: what a user might pick instead of this project.

What the job is, exactly, and with which settings each engine runs it: README.md beside this file. A `*_job.py` of another
engine runs in a virtual environment of its own, so it imports nothing of the project but `card_rules`, which stands beside it.
"""
