"""Photos: reading and writing files, squares of a photo, and scenes to compare on."""
