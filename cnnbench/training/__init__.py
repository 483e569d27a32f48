"""Train models by a recipe, and test them."""
