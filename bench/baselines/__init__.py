"""What a competent user of each tool writes for the benchmarked jobs. Nothing in here imports fastvi."""
