"""The pages of the administration; `providers` shows through whom people sign in, and tries that out."""
