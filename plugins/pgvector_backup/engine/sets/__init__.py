"""What a backup set is on disk: manifest, blocks, index, the one reader, catalog."""
