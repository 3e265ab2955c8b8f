"""The simulated hospital: patients, their vital signs, and what goes wrong with them."""
