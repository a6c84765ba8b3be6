"""What `fastvi study` computes, its tables and its pictures."""
