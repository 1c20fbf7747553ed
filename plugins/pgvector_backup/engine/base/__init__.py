"""What every wing may import: errors, sentences, cancelling, progress, rate; knows no file and no server."""
