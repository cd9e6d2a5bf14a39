"""Parts that methods share: plain torch, no files, no method configs."""
