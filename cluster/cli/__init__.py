"""The commands of `echorank`."""
