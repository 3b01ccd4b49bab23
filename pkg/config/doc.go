// Package config fills one typed struct from its defaults, a YAML file, the environment and flags, in
// that order; later ones win. Every leaf of the struct has one name made from its YAML keys:
// http.read_timeout in the file is REFRAIN_INGEST_HTTP_READ_TIMEOUT in the environment of the service
// ingest and --http-read-timeout on the command line. Nothing is looked up by string later, and nothing
// is read again at run time.
package config
