// Package archtest holds the rules of who may import whom (R1 to R7 of CONTRIBUTING.md) as data, and
// checks a source tree against them. Its test runs it over the whole repository; `make arch` runs that.
//
// It reads imports and selectors only, without building anything, so a rule holds for all platforms and
// also while something does not compile.
package archtest
