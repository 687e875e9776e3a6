"""How well scores foretell what happens: companies made up or given, and who is judged on them."""
