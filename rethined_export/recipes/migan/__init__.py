"""MI-GAN: what of it is exported, and how photos are filled with it."""
