"""Questions on a GPU: devices, memory, and what is launched."""
