"""Study: one model, its data and a q, judged by the truth."""
