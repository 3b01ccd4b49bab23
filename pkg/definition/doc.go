// Package definition reads definitions: YAML files in a directory become resources, and the resources one
// bundle with one revision. Everything that is wrong is found at once and has a place.
//
// Load knows the shape of definitions, which is that of the messages in refrain.definition.v1 and their
// rules; what a resource means is checked by whoever compiles it, who reports Problems. A Source turns
// the place of a problem inside a resource into file, line and column.
package definition
