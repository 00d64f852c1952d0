"""The pages of a lab.

`visit` finds out who looks at which lab and turns refusals into pages. `members` shows the lab to those who look after
it and `profile` to everybody else; `invitations`, `join_requests` and `lab_csv` bring people in; `lab_grants` and
`lab_applications` are about software; `settings` about the lab itself.
"""
