"""Training of the embedded segmenter's weights. ``node`` never imports it."""
