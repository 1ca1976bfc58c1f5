"""Teachers: anything that carries noise to data along a path, and files that hold one."""
