"""arm64 Linux without an arm64 machine: emulator, system files and runtimes in one folder."""
