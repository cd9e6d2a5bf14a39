"""Label maps and truth -> numbers. numpy and scipy only; has never heard of a network."""
