"""What the HTML pages of this project share: their style, and clips inside them."""
