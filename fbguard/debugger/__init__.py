"""What Facebook says about a token, shown to whoever builds or runs the app: ``fbguard debugger``."""
