// Package liquid is a template engine for Liquid, as Shopify's reference engine renders it in its
// strict mode.
//
// Parse turns a source into a Template and finds every mistake that does not depend on data:
// syntax, tags, filters and the number of their arguments. Template.Uses lists the variables that a
// template reads, so that a caller can hold them against what it declares. Template.Render fills a
// template in. It needs no clock, no files and no network: the time is an argument, and other
// templates are given to Parse.
//
// Rendering is bounded. Limits caps the steps, the output and the memory of one rendering; work is
// charged before it is done, so neither nested loops nor a replace that grows its text can take
// more than the limits allow.
//
// # What differs from the reference, and why
//
//   - A number is printed in digits, never with an exponent: 0.00005, not 5.0e-05. A person reads it.
//   - A whole number that leaves 64 bits becomes a number with decimals. State stays bounded.
//   - A filter that does not exist, and a wrong number of arguments, are errors of Parse. The
//     reference finds the one never and the other while it renders.
//   - A comma after the last argument of a for is accepted, as the reference's lax mode does.
//   - abort is a tag: it ends the rendering with ErrAbort.
package liquid
