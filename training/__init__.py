"""How the weights of the embedded segmenter came to be; never imported by ``node``."""
