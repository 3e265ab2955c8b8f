"""What the rules of the detector are made of: alarms that change and clear, silence, the online detector."""
