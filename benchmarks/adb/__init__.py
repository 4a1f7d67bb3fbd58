"""Devices reached by adb: finding them, their shell and files, what runs artifacts on them."""
