"""Training by a recipe, and testing what was trained."""
