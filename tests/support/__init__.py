"""What the suites share: the server as a process, its API, kernels, and what is left on the machine.

The suites know the server only from outside: its command line, its HTTP API, `admin.json`, and what the kernel of
the machine shows of it. Nothing here imports or reads the server's own code, so a suite can run against any build.
"""
