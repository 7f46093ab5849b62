"""The Gymnasium face: adapters from the functional core to Gymnasium's dialect."""
