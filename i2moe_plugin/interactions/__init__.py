"""What makes experts differ: masked views and the losses that compare them."""
