"""Screens of learners and trainers: each checks the rules, calls one verb, chooses one template."""
