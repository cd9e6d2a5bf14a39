"""How good a mask is likely to be, and which slice to outline next, without truth. No torch."""
