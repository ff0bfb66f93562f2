"""The lecture's programs, run side by side. Their readable, stand-alone form is in the folder `examples`."""
