"""What every room uses: frozen holders, storage, validation, files."""
