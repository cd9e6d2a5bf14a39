"""Score runs, benchmark methods over budgets and draws, compare them; the demo."""
