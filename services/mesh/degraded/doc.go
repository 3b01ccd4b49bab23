// Package degraded holds the degraded-mode matrix as tests: for every condition under which a part of the mesh
// is missing, and every service, what it does meanwhile, and that it goes on by itself afterwards. The table is
// docs/degraded.md; each of its cells names a test of this package.
package degraded
