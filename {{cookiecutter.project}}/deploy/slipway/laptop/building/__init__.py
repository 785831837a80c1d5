"""Which steps are out of date, and the docker command lines that build them."""
