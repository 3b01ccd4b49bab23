// Package child runs other programs as processes that can be broken the way real ones break: killed without
// a warning, or stopped as by a long pause of the machine. On Linux none of them outlives this process,
// whatever becomes of it. It is there on Unix only.
package child
