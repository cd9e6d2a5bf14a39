"""Images that never came from a patient: what the bundled SAM is pre-trained on."""
