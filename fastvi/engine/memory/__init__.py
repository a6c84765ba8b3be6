"""Peak memory of what forms do, from the sizes of their buffers: known before any of them is made."""
