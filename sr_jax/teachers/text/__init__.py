"""Text teachers."""
