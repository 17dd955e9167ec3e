"""What speaks HTTP: each program of it is a Python of its own, started by the node.

Of services: `front`, `application`, `direct`, `watching`, `heads`, `figures` are the front's; `replica`, `handlers` run
in the workers of the service's pool; `events`, `responses`, `contexts`, `encoding` are what handlers know from Nuclio;
`exchange` is what front and replica say to each other. `page` and its kin are the page's.
"""
