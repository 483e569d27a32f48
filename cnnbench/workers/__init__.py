"""The process boundary: processes that hold one case each, and how the coordinator talks to them."""
